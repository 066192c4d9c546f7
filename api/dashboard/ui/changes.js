// SPDX-License-Identifier: Apache-2.0
// Everything the page changes: entries and sets, each with its way back.

import { call, get, Problem, query, segment } from "./api.js";
import { ask, complain, notice } from "./notices.js";
import { TTLS } from "./format.js";

const ORIGIN = "manual";

const listeners = [];
export const whenChanged = (listener) => listeners.push(listener);
const changed = () => listeners.forEach((listener) => listener());

const entryPath = (set, prefix) => `/sets/${segment(set)}/entries/${prefix}`;
const spoken = (ttl) => (ttl ? `for ${Object.fromEntries(TTLS)[ttl] || ttl}` : "for ever");
const verb = (set) => ({ block: "Blocked", allow: "Allowed" })[set] || `Added to ${set}:`;

// A guard's refusal is put to the person, with what it says; yes forces it.
async function guarded(send) {
  try {
    return await send(false);
  } catch (error) {
    if (!(error instanceof Problem) || error.kind !== "guarded") throw error;
    if (!(await ask("This is guarded", error.message, "Do it all the same"))) return null;
    return send(true);
  }
}

async function attempt(change) {
  try {
    const done = await change();
    changed();
    return done;
  } catch (error) {
    complain(error);
    return null;
  }
}

// Claims of an entry as it is now; none if it is not there.
async function claims(set, prefix) {
  const found = await get(`/sets/${segment(set)}/entries${query({ within: prefix, limit: 1 })}`);
  const entry = found.items.find((item) => item.prefix === prefix || item.prefix.split("/")[0] === prefix);
  return entry ? entry.claims || [entry] : [];
}

function restore(set, prefix, claim) {
  const { expires_at, comment, origin } = claim;
  return call("PUT", entryPath(set, prefix) + query({ force: true }), { expires_at, comment, origin });
}

export function add(set, prefix, ttl, comment = "") {
  return attempt(async () => {
    const before = (await claims(set, prefix)).find((claim) => claim.origin === ORIGIN);
    const body = { ...(ttl ? { ttl } : {}), comment, origin: ORIGIN };
    const answer = await guarded((force) => call("PUT", entryPath(set, prefix) + query({ force: force || null }), body));
    if (!answer) return null;
    const undo = () => attempt(() => (
      before ? restore(set, prefix, before) : call("DELETE", entryPath(set, answer.prefix) + query({ origin: ORIGIN }))
    )).then((done) => done && notice(`${answer.prefix} is as it was before.`));
    notice(`${verb(set)} ${answer.prefix} ${spoken(ttl)}.`, { detail: surprise(set, answer), action: "Undo", act: undo });
    return answer;
  });
}

// An entry that is stored is not yet an entry that works.
function surprise(set, answer) {
  const expected = { block: "drop", allow: "pass" }[set];
  return expected && answer.effective !== expected ? `But it has no such effect: ${answer.because}` : "";
}

export function remove(set, prefix) {
  return attempt(async () => {
    const before = await claims(set, prefix);
    const done = await guarded((force) => call("DELETE", entryPath(set, prefix) + query({ force: force || null })));
    if (!done) return null;
    const undo = () => attempt(() => Promise.all(before.map((claim) => restore(set, prefix, claim))))
      .then((back) => back && notice(`${prefix} is in ${set} again.`));
    notice(`${prefix} is no longer in ${set}.`, { action: "Undo", act: undo });
    return done;
  });
}

// Let one address go: its own entry, or a word about what else covers it.
export function release(address, within) {
  return attempt(async () => {
    const { matches } = await get(`/addresses/${segment(address)}`);
    const covering = matches.filter((match) => match.set === "block");
    const own = covering.find((match) => match.prefix.split("/")[0] === address && /\/(32|128)$/.test(match.prefix));
    if (own) return remove("block", own.prefix);
    if (!covering.length) return notice(`${address} is not in block any more.`);
    return notice(`${address} is covered by ${covering[0].prefix} in block.`, {
      action: "Show", act: () => within("block", covering[0].prefix),
    });
  });
}

export function addSet(name) {
  return attempt(async () => {
    await call("PUT", `/sets/${segment(name)}`, {});
    return name;
  });
}

export function deleteSet(name) {
  return attempt(async () => {
    if (!(await ask(`Delete the set ${name}?`, "All its entries go with it. There is no way back.", "Delete"))) return null;
    return guarded((force) => call("DELETE", `/sets/${segment(name)}${query({ force: force || null })}`));
  });
}
