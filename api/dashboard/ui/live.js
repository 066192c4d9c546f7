// SPDX-License-Identifier: Apache-2.0
// The one stream that the page follows, while somebody looks: a browser opens six connections to a server, and each page
// takes one of them.

import { follow, query } from "./api.js";
import { complain } from "./notices.js";

const listeners = { status: [], counters: [], reasons: [], talkers: [], resumed: [], refused: [] };
const wish = {};

let whole = null;
let current = null;

export const on = (name, listener) => listeners[name].push(listener);
const tell = (name, value) => listeners[name].forEach((listener) => listener(value));

export function startLive(signal) {
  whole = signal;
  const seen = () => {
    if (document.hidden) return current.abort();
    tell("resumed");
    return restart();
  };
  document.addEventListener("visibilitychange", seen, { signal });
  signal.addEventListener("abort", () => current?.abort());
  restart();
}

// Another question is another stream.
export function want(change) {
  const before = query(wish);
  Object.assign(wish, change);
  if (whole && query(wish) !== before) restart();
}

async function restart() {
  current?.abort();
  if (whole.aborted) return;
  current = new AbortController();
  const { signal } = current;
  try {
    await follow(`/live/stream${query(wish)}`, signal, tell);
  } catch (error) {
    // Whoever asked for what is not to be had takes it back; everything else goes on.
    if (signal.aborted) return;
    if (error.status === 404 || error.status === 422) tell("refused", error);
    else complain(error);
  }
}
