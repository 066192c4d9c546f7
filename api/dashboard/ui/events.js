// SPDX-License-Identifier: Apache-2.0
// Single packets as they are sampled. The kernel samples while somebody looks, so this looks only when asked to.

import { $, chip, el, show, write } from "./dom.js";
import { time, whole } from "./format.js";
import { follow, query } from "./api.js";
import { chosenInterface, whenChosen } from "./traffic.js";

const MOST = 200;

let watching = null;
let outer = null;
let seen = 0;

export function startEvents(signal) {
  outer = signal;
  $("events-watch").onclick = () => (watching ? stop() : watch());
  $("events-verdict").onchange = () => watching && watch();
  whenChosen(() => watching && watch());
}

function stop() {
  watching?.abort();
  watching = null;
  $("events-watch").setAttribute("aria-pressed", "false");
  write($("events-watch"), "Watch");
}

async function watch() {
  stop();
  watching = new AbortController();
  const { signal } = watching;
  outer.addEventListener("abort", stop, { once: true });
  $("events-watch").setAttribute("aria-pressed", "true");
  write($("events-watch"), "Stop");
  write($("events-empty"), "Waiting for a packet…");
  try {
    await follow(`/events${query({ interface: chosenInterface(), verdict: $("events-verdict").value })}`, signal, (_name, event) => add(event));
  } catch (error) {
    stop();
    if (error.status !== 404) return write($("events-empty"), error.message);
    for (const id of ["events", "events-link"]) show($(id), false);
  }
  return undefined;
}

function add(event) {
  if (!event.source && !event.verdict) return;
  const body = $("events-table").tBodies[0];
  const ports = (address, port) => (port ? (String(address).includes(":") ? `[${address}]:${port}` : `${address}:${port}`) : address || "–");
  const cells = [
    ["", time(event.time || event.at || Date.now())],
    ["", event.interface || ""],
    ["", chip(event.verdict, event.verdict === "drop" ? "block" : "allow")],
    ["under", event.rule ? `rule ${event.rule}` : event.reason || ""],
    ["address", ports(event.source, event.source_port)],
    ["address", ports(event.destination, event.destination_port)],
    ["wide", [event.protocol, event.flags || event.tcp_flags].filter(Boolean).join(" ")],
    ["number wide", String(event.length ?? "")],
  ];
  body.prepend(el("tr", "", ...cells.map(([kind, content]) => el("td", kind, content))));
  while (body.rows.length > MOST) body.lastElementChild.remove();
  show($("events-empty"), false);
  seen += 1;
  write($("events-note"), `${whole(seen)} seen, the last ${Math.min(seen, MOST)} shown`);
}
