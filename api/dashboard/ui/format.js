// SPDX-License-Identifier: Apache-2.0
// Numbers and times for people.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];
const SECONDS = { day: 86_400, hour: 3600, minute: 60 };

export const TTLS = [["15m", "15 min"], ["1h", "1 hour"], ["1d", "1 day"], ["7d", "7 days"], ["", "ever"]];

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const exact = new Intl.NumberFormat("en");

export function scaled(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  let power = 0;
  let number = value;
  while (number >= 999.5 && power < PREFIXES.length - 1) {
    number /= 1000;
    power += 1;
  }
  const digits = power === 0 ? (number > 0 && number < 9.95 && !Number.isInteger(number) ? 1 : 0) : number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  const suffix = `${PREFIXES[power]}${unit}`;
  return suffix ? `${number.toFixed(digits)} ${suffix}` : number.toFixed(digits);
}

export const packets = (rate) => scaled(rate, "pps");
export const bits = (rate) => scaled(rate, "b/s");
export const bytes = (count) => scaled(count, "B");
export const count = (number) => (number < 10_000 ? exact.format(number) : scaled(number));
export const whole = (number) => exact.format(number);

export function percent(part, all) {
  if (!all) return "0 %";
  const share = (100 * part) / all;
  if (share > 0 && share < 0.1) return "< 0.1 %";
  return `${share < 10 && share > 0 ? share.toFixed(1) : Math.round(share)} %`;
}

export function left(seconds) {
  if (seconds === null) return "for ever";
  if (seconds < 60) return `${Math.max(0, Math.ceil(seconds))} s`;
  if (seconds < SECONDS.hour) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < SECONDS.day) return `${Math.floor(seconds / SECONDS.hour)} h ${Math.floor((seconds % SECONDS.hour) / 60)} min`;
  return `${Math.floor(seconds / SECONDS.day)} d ${Math.floor((seconds % SECONDS.day) / SECONDS.hour)} h`;
}

export function ago(seconds) {
  if (seconds < 2) return "now";
  return left(seconds).split(" ").slice(0, 2).join(" ");
}

export const time = (moment) => clock.format(new Date(moment));

// Whether the API takes it as a prefix, as far as can be told here; the API has the last word.
export function isPrefix(text) {
  const [address, length, more] = text.split("/");
  if (more !== undefined || (length !== undefined && !/^\d{1,3}$/.test(length))) return false;
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(address)) return address.split(".").every((octet) => octet < 256) && (length ?? 32) <= 32;
  return /^[0-9a-f:]+(\.\d+)*$/i.test(address) && address.includes(":") && (address.includes("::") || address.split(":").length === 8) && (length ?? 128) <= 128;
}

export const isAddress = (text) => isPrefix(text) && !text.includes("/");
