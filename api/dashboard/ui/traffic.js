// SPDX-License-Identifier: Apache-2.0
// Charts and totals of the interface that is chosen, or of all together.

import { $, el, fill, tabs, write } from "./dom.js";
import { bits, packets, percent, scaled, time } from "./format.js";
import { get } from "./api.js";
import { on, want } from "./live.js";
import { complain } from "./notices.js";
import { Series, SPAN, stacked } from "./series.js";

export const ALL = "";

// In the order of a row of `stacked`.
const PARTS = [["dropped", "dropped"], ["monitored", "would drop"], ["passed", "passed"]];
const CHARTS = [["pps", packets], ["bps", bits]];

const series = new Map();
const charts = new Map();
const chosen = { name: ALL, listeners: [] };
let latest = [];
let links = [];

export const chosenInterface = () => chosen.name;
export const whenChosen = (listener) => chosen.listeners.push(listener);

const inView = () => latest.filter((counters) => chosen.name === ALL || counters.name === chosen.name);

export async function startTraffic() {
  on("counters", (page) => {
    latest = page.items;
    for (const counters of latest) seriesOf(counters.name).add(counters);
    paint();
  });
  on("resumed", () => loadHistory().catch(complain));
  makeCharts();
  await loadHistory();
}

async function loadHistory() {
  const history = await get("/history");
  for (const item of history.items) seriesOf(item.name).load(item);
}

export function renewInterfaces(interfaces) {
  links = interfaces.filter((link) => link.state === "attached" || link.desired);
  const shown = links.map((link) => ({ key: link.name, label: link.name, note: link.mode || link.state, warned: link.warning }));
  if (chosen.name !== ALL && !links.some((link) => link.name === chosen.name)) return choose(ALL);
  return tabs($("interfaces"), [{ key: ALL, label: "All interfaces" }, ...shown], chosen.name, choose);
}

export function choose(name) {
  chosen.name = name;
  for (const button of $("interfaces").children) button.setAttribute("aria-selected", button.value === name);
  want({ interface: name });
  chosen.listeners.forEach((listener) => listener());
  paint();
}

function seriesOf(name) {
  if (!series.has(name)) series.set(name, new Series());
  return series.get(name);
}

function paint() {
  const items = inView();
  const sum = (field, unit) => items.reduce((total, counters) => total + counters[field][unit], 0);
  for (const field of ["passed", "dropped"]) {
    big($(`${field}-pps`), packets(sum(field, "pps")));
    write($(`${field}-bps`), bits(sum(field, "bps")));
  }
  const dropped = sum("dropped", "pps");
  big($("share"), percent(dropped, dropped + sum("passed", "pps")));
  const monitored = sum("monitored", "pps");
  write($("share-note"), monitored > 0 ? `${packets(monitored)} more would be dropped` : "of packets, now");
  paintCharts();
}

function big(element, text) {
  const at = text.indexOf(" ");
  const [number, unit] = at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at)];
  if (element.textContent !== text) fill(element, number, unit ? el("small", "", unit) : null);
}

export function renewTracked(total) {
  big($("tracked"), scaled(total));
}

// Charts

function makeCharts() {
  for (const [unit] of CHARTS) {
    const element = $(`${unit}-chart`);
    if (typeof Dygraph === "undefined") {
      element.classList.add("missing");
      fill(element, "Charts need Debian's package libjs-dygraphs on the firewall.");
    }
  }
  if (typeof Dygraph === "undefined") return;
  // Its legend and its titles write styles into the document, which this page forbids; the legend here is our own.
  Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => ["Axes Plugin", "Grid Plugin"].includes(plugin.prototype.toString()));
}

// A canvas knows no style sheet: ask what the legend's keys are painted in.
function colours() {
  const names = ["passed", "dropped", "monitored", "line"];
  const probes = names.map((name) => el("span", `key ${name}`));
  document.body.append(...probes);
  const found = Object.fromEntries(names.map((name, at) => [name, getComputedStyle(probes[at]).color]));
  probes.forEach((probe) => probe.remove());
  return found;
}

function options(unit, format) {
  const colour = colours();
  return {
    labels: ["time", ...PARTS.map(([field]) => field)],
    colors: PARTS.map(([field]) => colour[field]),
    stackedGraph: true,
    fillAlpha: 0.28,
    strokeWidth: 1.4,
    includeZero: true,
    gridLineColor: colour.line,
    axisLineColor: "transparent",
    gridLineWidth: 1,
    highlightCircleSize: 3,
    interactionModel: {},
    animatedZooms: false,
    axes: {
      x: { drawGrid: false, pixelsPerLabel: 80, axisLabelFormatter: (moment) => time(moment).slice(0, 5) },
      y: { axisLabelWidth: 62, pixelsPerLabel: 34, axisLabelFormatter: (value) => format(value).replace(/\.0+ /, " ") },
    },
    highlightCallback: (_event, _x, _points, row) => point(unit, format, row),
    unhighlightCallback: () => point(unit, format, null),
  };
}

function paintCharts() {
  if (typeof Dygraph === "undefined") return;
  const times = inView().map((counters) => Date.parse(counters.at));
  // The last second that is known of all.
  const end = Math.floor((times.length ? Math.min(...times) : Date.now()) / 1000);
  const all = [...series].filter(([name]) => chosen.name === ALL || name === chosen.name).map(([, each]) => each);
  const rows = stacked(all, end);
  const dateWindow = [(end - SPAN + 1) * 1000, end * 1000];
  for (const [unit, format] of CHARTS) {
    const chart = charts.get(unit);
    const peak = Math.max(...rows[unit].map((row) => row[1] + row[2] + row[3]));
    const valueRange = [0, Math.max(peak, 10) * 1.1];
    describe(unit, rows[unit], format(peak));
    if (chart) {
      chart.rows = rows[unit];
      chart.graph.updateOptions({ file: rows[unit], dateWindow, valueRange });
    } else {
      charts.set(unit, { rows: rows[unit], graph: new Dygraph($(`${unit}-chart`), rows[unit], { ...options(unit, format), dateWindow, valueRange }) });
    }
    legend(unit, format);
  }
}

// For those who do not see it.
function describe(unit, rows, peak) {
  const known = rows.filter((row) => row[1] !== null).length;
  $(`${unit}-chart`).setAttribute("aria-label", `Passed and dropped in the last ${known} seconds, at most ${peak}`);
}

export function recolour() {
  for (const [unit, format] of CHARTS) charts.get(unit)?.graph.updateOptions(options(unit, format));
}

const pointed = new Map();

function point(unit, format, row) {
  pointed.set(unit, row);
  legend(unit, format);
}

// What is under the pointer, else what the colours mean.
function legend(unit, format) {
  const rows = charts.get(unit)?.rows || [];
  const values = rows[pointed.get(unit) ?? -1];
  const parts = PARTS.map(([field, label], at) => ({ field, label, value: values?.[at + 1] })).reverse();
  const monitored = rows.some((each) => each[2] > 0);
  fill(
    $(`${unit}-legend`),
    values ? el("span", "", time(values[0])) : null,
    ...parts.filter(({ field }) => field !== "monitored" || monitored)
      .map(({ field, label, value }) => el("span", "", el("span", `key ${field}`), `${label} `, values ? el("b", "", format(value)) : null)),
  );
}
