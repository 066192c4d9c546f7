// SPDX-License-Identifier: Apache-2.0
// The policy's rules with their hits, and the reasons for what becomes of packets.

import { $, bar, chip, el, fill, Rows, write } from "./dom.js";
import { bytes, scaled } from "./format.js";
import { get } from "./api.js";
import { on } from "./live.js";
import { chosenInterface, whenChosen } from "./traffic.js";
import { complain } from "./notices.js";

const EVERY = 5000;
const MOST = 200;
const REASONS = 10;

let rows = null;
let latest = [];

export function startRules(signal) {
  rows = new Rows($("rules-table").tBodies[0], (rule) => rule.id, makeRow);
  const timer = setInterval(() => !document.hidden && renewRules(), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  on("reasons", (page) => {
    latest = page.items;
    paintReasons();
  });
  whenChosen(paintReasons);
}

export function renewPolicy(policy) {
  write($("default"), `otherwise ${policy.default}`);
  $("default").className = `pill ${policy.default === "drop" ? "bad" : "good"}`;
}

export async function renewRules() {
  try {
    rows.renew((await get(`/rules?limit=${MOST}`)).items);
  } catch (error) {
    complain(error);
  }
}

function makeRow() {
  const cells = ["number under", "", "", "number"].map((kind) => el("td", kind));
  const row = el("tr", "", ...cells);
  row.renew = (rule) => {
    row.className = rule.enabled ? "" : "off";
    write(cells[0], String(rule.position));
    const told = JSON.stringify([rule.id, rule.match, rule.comment, rule.warning, rule.action, rule.mode, rule.limit, rule.enabled]);
    if (row.dataset.told !== told) {
      row.dataset.told = told;
      fill(cells[1], el("strong", "", rule.id), el("div", "under", matched(rule.match)), note(rule));
      fill(cells[2], chip(rule.action, { drop: "block", pass: "allow" }[rule.action]), rule.mode === "monitor" ? chip("monitor") : null, rule.enabled ? null : chip("off"));
    }
    fill(cells[3], scaled(rule.packets), el("div", "under", bytes(rule.bytes)));
  };
  return row;
}

function note(rule) {
  const limit = rule.limit ? `at most ${rule.limit.rate} ${rule.limit.unit} a second per ${rule.limit.per}` : "";
  const text = [limit, rule.comment, rule.warning].filter(Boolean).join(" · ");
  return text ? el("div", "under", text) : null;
}

function matched(match) {
  const words = Object.entries(match).filter(([, values]) => values.length).map(([field, values]) => `${field.replaceAll("_", " ")} ${values.join(", ")}`);
  return words.join("; ") || "everything";
}

function paintReasons() {
  const name = chosenInterface();
  const sums = new Map();
  for (const counters of latest.filter((each) => !name || each.name === name)) {
    for (const [reason, counts] of Object.entries(counters.reasons)) {
      const sum = sums.get(reason) || { passed: 0, dropped: 0 };
      for (const verdict of ["passed", "dropped"]) sum[verdict] += counts[verdict].packets;
      sums.set(reason, sum);
    }
  }
  const all = [...sums].map(([reason, sum]) => ({ reason, ...sum, total: sum.passed + sum.dropped })).filter((each) => each.total);
  const most = Math.max(...all.map((each) => each.total), 1);
  all.sort((a, b) => b.total - a.total);
  fill($("reasons"), ...all.slice(0, REASONS).map(({ reason, passed, dropped, total }) => (
    bar(reason.replace(":", " "), [{ share: passed / most, kind: "passed" }, { share: dropped / most, kind: "dropped" }], scaled(total))
  )));
}
