// SPDX-License-Identifier: Apache-2.0
// The REST API and its streams, with the token that was given: it is in this variable and nowhere else.

const BASE = "/api/v1";
const SLOWEST_RETRY = 10_000;

let token = "";
let onRefused = () => {};
let onConnection = () => {};

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `status ${status}`);
    this.status = status;
    this.kind = (document.type || "").split(":").pop();
  }
}

export const segment = encodeURIComponent;

export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export function signIn(text) {
  token = text;
}

export function signOut() {
  token = "";
}

// What to do when the token is not accepted any more, and when the server comes and goes.
export function whenever({ refused, connection }) {
  onRefused = refused;
  onConnection = connection;
}

async function request(method, path, { body, signal } = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  // credentials: nothing that the browser may remember is sent along, or kept.
  const options = { method, headers, body: sent, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  const response = await fetch(BASE + path, options);
  if (response.ok) return response;
  const problem = new Problem(response.status, await response.json().catch(() => ({})));
  if (problem.status === 401) onRefused(problem);
  throw problem;
}

export async function call(method, path, body) {
  const response = await request(method, path, { body });
  const text = await response.text();
  return text ? JSON.parse(text) : { effective: response.headers.get("X-Effective") };
}

export const get = (path) => call("GET", path);

// Follow a stream of server-sent events until the signal says stop: `tell` gets each event's name and document.
// EventSource cannot send a token, so this reads the body itself. Asks again when the stream ends, later each time it
// fails.
export async function follow(path, signal, tell) {
  let wait = 500;
  while (!signal.aborted) {
    try {
      const response = await request("GET", path, { signal });
      for await (const { name, document } of events(response.body)) {
        wait = 500;
        onConnection(true);
        tell(name, document);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
      onConnection(false);
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, SLOWEST_RETRY);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n");
        const values = (field) => lines.filter((line) => line.startsWith(field)).map((line) => line.slice(field.length));
        const data = values("data:");
        if (data.length) yield { name: (values("event:").pop() || "message").trim(), document: JSON.parse(data.join("\n")) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
