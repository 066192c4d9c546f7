// SPDX-License-Identifier: Apache-2.0
// The last quarter of an hour, second by second, of each interface: first from the daemon's history, then from its
// counters as they come.

export const SPAN = 900;
const FIELDS = ["passed", "dropped", "monitored"];
const WIDTH = 6; // pps and bps of each field

export class Series {
  constructor() {
    this.rates = new Map(); // second → [pps, bps] of each field
    this.last = null;
  }

  load(history) {
    history.times.forEach((moment, at) => {
      const rates = FIELDS.flatMap((field) => [history[field].pps[at], history[field].bps[at]]);
      if (rates[0] !== null) this.rates.set(second(moment), rates);
    });
  }

  // What was counted since the event before. An event that was skipped makes the next one tell of both seconds.
  add(counters) {
    const at = Date.parse(counters.at) / 1000;
    const totals = FIELDS.flatMap((field) => [counters[field].packets, counters[field].bytes * 8]);
    const before = this.last;
    this.last = { at, totals };
    if (!before || at <= before.at) return;
    const rates = totals.map((total, n) => Math.max(0, total - before.totals[n]) / (at - before.at));
    for (let each = Math.max(Math.floor(before.at) + 1, Math.floor(at) - 10); each <= Math.floor(at); each += 1) this.rates.set(each, rates);
    for (const each of this.rates.keys()) {
      if (each >= at - SPAN - 5) break;
      this.rates.delete(each);
    }
  }
}

const second = (moment) => Math.round(Date.parse(moment) / 1000);

// Rows [Date, dropped, monitored, passed without those] in packets and in bits per second, summed over some series.
// What is to lie lowest in a stack comes last.
export function stacked(all, end) {
  const pps = [];
  const bps = [];
  for (let each = end - SPAN + 1; each <= end; each += 1) {
    const sum = new Array(WIDTH).fill(0);
    let known = false;
    for (const series of all) {
      const rates = series.rates.get(each);
      if (!rates) continue;
      known = true;
      for (let n = 0; n < WIDTH; n += 1) sum[n] += rates[n];
    }
    const time = new Date(each * 1000);
    const row = (n) => (known ? [time, sum[2 + n], sum[4 + n], Math.max(0, sum[n] - sum[4 + n])] : [time, null, null, null]);
    pps.push(row(0));
    bps.push(row(1));
  }
  return { pps, bps };
}
