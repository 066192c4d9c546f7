// SPDX-License-Identifier: Apache-2.0
// Who is talking: ranked by the daemon, filtered, blocked by a click.

import { $, chip, el, fill, Rows, show, write } from "./dom.js";
import { ago, bytes, count, isPrefix, scaled, TTLS } from "./format.js";
import { add, release } from "./changes.js";
import { on, want } from "./live.js";
import { ALL, choose, renewTracked, whenChosen } from "./traffic.js";
import { showEntries } from "./sets.js";

const COLUMNS = [
  { label: "Address" },
  { label: "Packets/s", sort: "pps", of: "total", class: "number wide" },
  { label: "Bits/s", sort: "bps", of: "total", class: "number" },
  { label: "Dropped/s", sort: "pps", of: "dropped", class: "number" },
  { label: "Packets", sort: "packets", of: "total", class: "number wide" },
  { label: "Bytes", sort: "bytes", of: "total", class: "number wide" },
  { label: "Seen", class: "number wide" },
  { label: "" },
];

const wish = { sort: "bps", of: "total", order: "desc" };
let text = "";
let paused = false;
let latest = null;
let rows = null;

export function startTalkers() {
  rows = new Rows($("talkers-table").tBodies[0], (item) => item.address, makeRow);
  fill($("talkers-ttl"), ...TTLS.map(([value, label]) => el("option", { value, selected: value === "1h" }, label)));
  fill($("talkers-table").tHead.rows[0], ...COLUMNS.map(makeHead));
  for (const id of ["talkers-family", "talkers-limit"]) $(id).onchange = ask;
  $("talkers-filter").oninput = filtered;
  $("talkers-pause").onclick = () => pause(!paused);
  whenChosen(() => pause(false));
  on("talkers", (view) => {
    if (paused) return;
    latest = view;
    renew();
  });
  on("refused", refused);
  ask();
}

function makeHead(column) {
  const head = el("th", { className: column.class || "", scope: "col" });
  if (!column.sort) return fill(head, column.label) || head;
  head.append(el("button", { type: "button", onclick: () => sortBy(column) }, column.label));
  return head;
}

function sortBy({ sort, of }) {
  const same = wish.sort === sort && wish.of === of;
  Object.assign(wish, { sort, of, order: same && wish.order === "desc" ? "asc" : "desc" });
  ask();
}

function filtered() {
  const before = within();
  text = $("talkers-filter").value.trim().toLowerCase();
  if (within() !== before) ask();
  else renew();
}

const within = () => (isPrefix(text) ? text : "");

function pause(wanted) {
  paused = wanted;
  $("talkers-pause").setAttribute("aria-pressed", paused);
  write($("talkers-pause"), paused ? "Go on" : "Pause");
}

function ask() {
  for (const [at, column] of COLUMNS.entries()) {
    const head = $("talkers-table").tHead.rows[0].cells[at];
    const sorted = column.sort === wish.sort && column.of === wish.of;
    if (sorted) head.setAttribute("aria-sort", wish.order === "desc" ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  write($("talkers-fault"), "");
  pause(false);
  want({ ...wish, limit: $("talkers-limit").value, family: $("talkers-family").value, within: within() });
}

// Of all that is asked, only a prefix that is none and an interface that went away can be wrong.
function refused(error) {
  write($("talkers-fault"), error.message);
  if (error.status === 404) choose(ALL);
  else want({ within: "" });
}

function renew() {
  const items = (latest?.items || []).filter(matches);
  const most = Math.max(...items.map(rate), 1);
  rows.renew(items.map((item) => ({ ...item, most, at: Date.parse(latest.at) })));
  show($("talkers-empty"), items.length === 0);
  if (!latest) return;
  if (!isPrefix(text) && !$("talkers-family").value) renewTracked(latest.total);
  write($("talkers-note"), `${items.length} of ${count(latest.total)}`);
}

const matches = (item) => !text || isPrefix(text) || item.address.includes(text) || item.sets.some((set) => set.includes(text));
const rate = (item) => item.passed.bps + item.dropped.bps;

function makeRow() {
  const address = el("span", "address");
  const notes = el("span", "under");
  const parts = [el("i"), el("i", "dropped")];
  const act = el("button", { type: "button" });
  const cells = COLUMNS.map((column) => el("td", column.class || ""));
  cells[0].append(el("div", "who", address, notes), el("div", "share", ...parts));
  cells.at(-1).className = "act";
  cells.at(-1).append(act);
  const row = el("tr", "", ...cells);
  row.renew = (item) => {
    write(address, item.address);
    parts[0].style.width = `${(100 * item.passed.bps) / item.most}%`;
    parts[1].style.width = `${(100 * item.dropped.bps) / item.most}%`;
    renewNotes(notes, item);
    write(cells[1], scaled(item.passed.pps + item.dropped.pps));
    write(cells[2], scaled(rate(item)));
    write(cells[3], item.dropped.pps ? scaled(item.dropped.pps) : "–");
    cells[3].classList.toggle("hot", item.dropped.pps > 0);
    cells[3].classList.toggle("none", !item.dropped.pps);
    write(cells[4], scaled(item.passed.packets + item.dropped.packets));
    write(cells[5], bytes(item.passed.bytes + item.dropped.bytes));
    write(cells[6], ago((item.at - Date.parse(item.last_seen)) / 1000));
    const blocked = item.sets.includes("block");
    write(act, blocked ? "Unblock" : "Block");
    act.className = `small ${blocked ? "" : "danger"}`;
    act.onclick = () => (blocked ? release(item.address, showEntries) : add("block", item.address, $("talkers-ttl").value));
  };
  return row;
}

function renewNotes(element, item) {
  const key = [...item.sets, "", ...(item.interfaces || [])].join(" ");
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  fill(element, ...item.sets.map((set) => chip(set)), item.interfaces ? item.interfaces.join(" ") : null);
}
