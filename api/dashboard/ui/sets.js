// SPDX-License-Identifier: Apache-2.0
// Sets and their entries: search, add, remove, and the time that is left.

import { $, el, fill, Rows, show, tabs, write } from "./dom.js";
import { bytes, count, isAddress, isPrefix, left, scaled, TTLS, whole } from "./format.js";
import { get, query, segment } from "./api.js";
import { add, addSet, deleteSet, remove } from "./changes.js";
import { ask, complain } from "./notices.js";

const EVERY = 10_000;
const PAGE = 50;
const BUILT_IN = ["block", "allow"];

let chosen = "block";
let sets = [];
let entries = [];
let pages = 1;
let rows = null;
let asked = 0;

export function startSets(signal) {
  rows = new Rows($("entries-table").tBodies[0], (entry) => entry.prefix, makeRow);
  fill($("entry-ttl"), ...TTLS.map(([value, label]) => el("option", { value, selected: value === "" }, value ? `for ${label}` : "for ever")));
  $("entries-filter").oninput = () => { pages = 1; renewEntries(); };
  $("entries-more").onclick = () => { pages += 1; renewEntries(); };
  $("entry-add").onsubmit = addEntry;
  $("set-new").onclick = newSet;
  $("set-delete").onclick = async () => (await deleteSet(chosen)) && choose("block");
  const timers = [setInterval(() => !document.hidden && renewEntries(), EVERY), setInterval(paint, 1000)];
  signal.addEventListener("abort", () => timers.forEach(clearInterval));
}

export function renewSets(views) {
  const others = views.filter((set) => !BUILT_IN.includes(set.name)).sort((a, b) => a.name.localeCompare(b.name));
  sets = [...BUILT_IN.flatMap((name) => views.filter((set) => set.name === name)), ...others];
  if (!sets.some((set) => set.name === chosen)) choose("block");
  tabs($("set-tabs"), sets.map((set) => ({ key: set.name, label: set.name, note: count(set.entries) })), chosen, choose);
  show($("set-delete"), !BUILT_IN.includes(chosen));
}

function choose(name) {
  chosen = name;
  pages = 1;
  entries = [];
  renewSets(sets);
  renewEntries();
}

export function showEntries(set, prefix) {
  $("entries-filter").value = prefix;
  choose(set);
  $("sets").scrollIntoView();
}

// Only the answer to the latest question counts.
export async function renewEntries() {
  const mine = (asked += 1);
  const text = $("entries-filter").value.trim();
  try {
    const view = isAddress(text) ? await get(`/addresses/${segment(text)}`) : null;
    const { found, more } = view ? covering(view) : await listed(isPrefix(text) ? text : "");
    if (mine !== asked) return;
    const now = Date.now();
    entries = found.map((entry) => ({ ...entry, ends: entry.ttl === null ? null : now + entry.ttl * 1000 }));
    write($("entries-fault"), "");
    show($("entries-more"), more);
    lookedUp(view);
    paint();
  } catch (error) {
    if (mine === asked) write($("entries-fault"), error.message);
  }
}

async function listed(within) {
  const found = [];
  let cursor = "";
  for (let page = 0; page < pages && cursor !== null; page += 1) {
    const answer = await get(`/sets/${segment(chosen)}/entries${query({ limit: PAGE, cursor, within })}`);
    found.push(...answer.items);
    cursor = answer.next;
  }
  return { found, more: cursor !== null };
}

// The entries of this set that an address is in, however wide they are.
function covering({ matches }) {
  const ttl = ({ expires_at }) => (expires_at === null ? null : (Date.parse(expires_at) - Date.now()) / 1000);
  return { found: matches.filter((match) => match.set === chosen).map((match) => ({ ...match, ttl: ttl(match) })), more: false };
}

function paint() {
  const text = $("entries-filter").value.trim().toLowerCase();
  const shown = isPrefix(text) || !text ? entries : entries.filter((entry) => `${entry.prefix} ${entry.origin} ${entry.comment}`.toLowerCase().includes(text));
  rows.renew(shown);
  show($("entries-empty"), shown.length === 0);
  const set = sets.find((each) => each.name === chosen);
  if (set) write($("entries-note"), `${whole(shown.length)} of ${whole(set.entries)} entries, ${scaled(set.packets)} packets hit`);
}

// What becomes of an address, whichever set says so.
function lookedUp(view) {
  show($("lookup"), view !== null);
  if (!view) return;
  $("lookup").className = `lookup ${view.verdict}`;
  write($("lookup"), `${view.address}: ${view.verdict}. ${view.because}`);
}

function makeRow(entry) {
  const cells = ["address", "number", "number", "number wide", "under wide", "act"].map((kind) => el("td", kind));
  const act = el("button", { type: "button", className: "small danger", onclick: () => remove(chosen, entry.prefix) }, "Remove");
  cells[5].append(act);
  const row = el("tr", "", ...cells);
  row.renew = (now) => {
    write(cells[0], now.prefix);
    write(cells[1], now.ends === null ? "for ever" : left((now.ends - Date.now()) / 1000));
    cells[1].classList.toggle("none", now.ends === null);
    write(cells[2], scaled(now.packets));
    write(cells[3], bytes(now.bytes));
    write(cells[4], [now.claims ? `${now.claims.length} claims` : now.origin, now.comment].filter(Boolean).join(" · "));
  };
  return row;
}

async function addEntry(event) {
  event.preventDefault();
  const prefix = $("entry-prefix").value.trim();
  const valid = isPrefix(prefix);
  write($("entry-fault"), valid ? "" : `“${prefix}” is not an address or prefix, such as 203.0.113.0/24 or 2001:db8::/32.`);
  if (!valid) return;
  const done = await add(chosen, prefix, $("entry-ttl").value, $("entry-comment").value.trim());
  // Whoever types the next one meanwhile keeps it.
  if (done && $("entry-prefix").value.trim() === prefix) for (const id of ["entry-prefix", "entry-comment"]) $(id).value = "";
}

async function newSet() {
  const input = el("input", { placeholder: "scanners", autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", "Name of the set");
  const name = await ask("New set", "Small letters, digits, _ and -. A rule says what becomes of its packets.", "Make it", input);
  if (!name) return;
  const made = await addSet(name);
  if (!made) return;
  try {
    renewSets((await get("/sets?limit=1000")).items);
    choose(made);
  } catch (error) {
    complain(error);
  }
}
