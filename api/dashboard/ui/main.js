// SPDX-License-Identifier: Apache-2.0
// Signing in and out, and what all panels share: the status.

import { $, show, write } from "./dom.js";
import { get, signIn, signOut, whenever } from "./api.js";
import { whenChanged } from "./changes.js";
import { complain } from "./notices.js";
import { on, startLive } from "./live.js";
import { recolour, renewInterfaces, startTraffic } from "./traffic.js";
import { startTalkers } from "./talkers.js";
import { renewEntries, renewSets, startSets } from "./sets.js";
import { renewPolicy, renewRules, startRules } from "./rules.js";
import { startEvents } from "./events.js";
import { renewSystem } from "./system.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
let session = null;
let revision = null;

function renewStatus(status) {
  renewSystem(status);
  renewInterfaces(status.interfaces);
  renewSets(status.sets);
  renewPolicy(status.policy);
  if (session && status.revision !== revision) {
    // Somebody changed something: here, elsewhere, or time did.
    revision = status.revision;
    renewRules();
    renewEntries();
  }
}

async function enter(event) {
  event.preventDefault();
  signIn($("token").value.trim());
  let status = null;
  try {
    status = await get("/status");
  } catch (error) {
    signOut();
    write($("sign-in-fault"), error.message);
    return;
  }
  $("token").value = "";
  write($("sign-in-fault"), "");
  for (const [id, visible] of [["entrance", false], ["main", true], ["leave", true]]) show($(id), visible);
  start(status);
}

// What is begun here ends with the session, and the page with it.
function start(status) {
  session = new AbortController();
  const { signal } = session;
  startTraffic().catch(complain);
  startTalkers();
  startSets(signal);
  startRules(signal);
  startEvents(signal);
  on("status", renewStatus);
  whenChanged(() => get("/status").then(renewStatus, complain));
  renewStatus(status);
  startLive(signal);
}

// What was shown under one token is gone before the next is asked for.
function leave() {
  session?.abort();
  signOut();
  location.reload();
}

function connected(is) {
  $("live").className = `live ${is ? "on" : "off"}`;
  write($("live"), is ? "live" : "no connection");
}

// The system's choice until somebody makes another one.
function turn() {
  const root = document.documentElement.dataset;
  root.theme = (root.theme || (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
  recolour();
}

$("sign-in").onsubmit = enter;
$("leave").onclick = leave;
$("theme").onclick = turn;
dark.onchange = recolour;
whenever({ connection: connected, refused: () => session && leave() });
show($("entrance"), true);
$("token").focus();
