// SPDX-License-Identifier: Apache-2.0
// Whether all is well: warnings, interfaces and their modes, how full the tables are.

import { $, bar, chip, el, fill, Rows, write } from "./dom.js";
import { left, scaled, whole } from "./format.js";

const NEARLY_FULL = 0.9;
const FILLING = 0.7;

let rows = null;
let shown = "";

export function renewSystem(status) {
  write($("instance"), status.instance);
  document.title = status.ready ? "xdpfw" : "xdpfw: not ready";
  pill($("ready"), status.ready ? "ready" : "not ready", status.ready ? "good" : "bad");
  pill($("mode"), status.policy.mode === "monitor" ? "monitor: nothing is dropped" : "enforcing", status.policy.mode === "monitor" ? "warn" : "good");
  renewWarnings(status);
  rows ||= new Rows($("links-table").tBodies[0], (link) => link.name, makeRow);
  rows.renew(status.interfaces);
  fill($("maps"), ...Object.entries(status.maps).map(([name, fillage]) => mapBar(name, fillage)));
  const facts = [
    `xdpfw ${status.version}`, `revision ${whole(status.revision)}`, `up ${left(status.uptime)}`,
    status.kernel.release && `Linux ${status.kernel.release}`, status.kernel.cpus && `${status.kernel.cpus} CPUs`,
    status.kernel.jit === false && "JIT is off",
  ];
  write($("facts"), facts.filter(Boolean).join(" · "));
}

function pill(element, text, kind) {
  write(element, text);
  element.className = `pill ${kind}`;
}

function renewWarnings({ problems, warnings, operation }) {
  const lines = [
    ...problems.map((text) => ["bad", text]),
    ...warnings.filter((text) => !problems.includes(text)).map((text) => ["", text]),
    ...(operation ? [["busy", `${operation.kind} ${operation.set || ""}: ${scaled(operation.done)} of ${scaled(operation.total)}`]] : []),
  ];
  // An alert that says the same again is read out again.
  if (JSON.stringify(lines) === shown) return;
  shown = JSON.stringify(lines);
  fill($("warnings"), ...lines.map(([kind, text]) => el("p", kind, text)));
}

function mapBar(name, { used, size }) {
  if (used === null) return bar(name, [], `of ${scaled(size)}`);
  const share = used / size;
  const kind = share > NEARLY_FULL ? "bad" : share > FILLING ? "warn" : "";
  return bar(name, [{ share, kind }], `${scaled(used)} of ${scaled(size)}`);
}

function makeRow() {
  const cells = ["", "", "", "wide under", "number wide", "number", "number"].map((kind) => el("td", kind));
  const row = el("tr", "", ...cells);
  row.renew = (link) => {
    const told = JSON.stringify(link);
    if (row.dataset.told === told) return;
    row.dataset.told = told;
    row.className = link.desired || link.state === "attached" ? "" : "off";
    fill(cells[0], el("strong", "", link.name), link.warning ? el("div", "under", link.warning) : null);
    fill(cells[1], chip(link.state, { attached: "allow", error: "block", absent: "monitor" }[link.state] || "plain"));
    const worse = link.mode === "generic" && link.desired !== "generic";
    fill(cells[2], link.mode ? chip(link.mode, worse ? "monitor" : "plain") : "–");
    write(cells[3], link.driver || "–");
    write(cells[4], link.mtu === null ? "–" : String(link.mtu));
    write(cells[5], link.passed ? scaled(link.passed.packets) : "–");
    write(cells[6], link.dropped ? scaled(link.dropped.packets) : "–");
    cells[6].classList.toggle("hot", Boolean(link.dropped?.packets));
  };
  return row;
}
