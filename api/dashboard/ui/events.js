// SPDX-License-Identifier: Apache-2.0
// Single packets as they are sampled. The kernel samples while somebody looks, so this looks only when asked to.

import { $, chip, el, show, write } from "./dom.js";
import { time, whole } from "./format.js";
import { follow, query } from "./api.js";
import { on } from "./live.js";
import { chosenInterface, whenChosen } from "./traffic.js";

const MOST = 200;

let watching = null;
let outer = null;
let seen = 0;
let lost = 0;

export function startEvents(signal) {
  outer = signal;
  $("events-watch").onclick = () => (watching ? stop() : watch());
  $("events-verdict").onchange = () => watching && watch();
  whenChosen(() => watching && watch());
  on("status", ({ events }) => {
    lost = events.lost.reduce((sum, each) => sum + each, 0);
    note();
  });
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
    show($("events-empty"), true);
    write($("events-empty"), error.message);
  }
}

function add(event) {
  const body = $("events-table").tBodies[0];
  const cells = [
    ["", time(event.time)],
    ["", event.interface],
    ["", event.monitored ? chip("would drop", "monitor") : chip(event.verdict, event.verdict === "drop" ? "block" : "allow")],
    ["under", event.rule ? `rule ${event.rule}` : event.reason],
    ["address", end(event.source, event.source_port)],
    ["address", end(event.destination, event.destination_port)],
    ["wide", protocol(event)],
    ["number wide", String(event.length)],
  ];
  body.prepend(el("tr", "", ...cells.map(([kind, content]) => el("td", kind, content))));
  while (body.rows.length > MOST) body.lastElementChild.remove();
  show($("events-empty"), false);
  seen += 1;
  note();
}

// Some come too fast to be read: who looks must know.
function note() {
  const missed = lost ? `, ${whole(lost)} lost` : "";
  write($("events-note"), seen ? `${whole(seen)} seen${missed}, the last ${Math.min(seen, MOST)} shown` : "a sample, packet by packet");
}

function end(address, port) {
  if (!address) return "–";
  if (port === null) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function protocol({ protocol: name, tcp_flags: flags, icmp_type: type, vlan }) {
  return [name, flags, type === null ? "" : `type ${type}`, vlan === null ? "" : `VLAN ${vlan}`].filter(Boolean).join(" ");
}
