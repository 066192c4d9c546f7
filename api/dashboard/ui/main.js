// SPDX-License-Identifier: Apache-2.0
// Signing in and out, and what all panels share: the status.

import { $, show, write } from "./dom.js";
import { get, signIn, signOut, whenever } from "./api.js";
import { whenChanged } from "./changes.js";
import { complain } from "./notices.js";
import { recolour, renewInterfaces, startTraffic } from "./traffic.js";
import { startTalkers } from "./talkers.js";
import { renewSets, startSets } from "./sets.js";
import { renewPolicy, startRules } from "./rules.js";
import { startEvents } from "./events.js";
import { renewSystem } from "./system.js";

const EVERY = 3000;

const dark = matchMedia("(prefers-color-scheme: dark)");
let session = null;
let started = false;

async function renewStatus() {
  const status = await get("/status");
  renewSystem(status);
  renewInterfaces(status.interfaces);
  renewSets(status.sets);
  renewPolicy(status.policy);
}

async function enter(event) {
  event.preventDefault();
  signIn($("token").value.trim());
  try {
    await renewStatus();
  } catch (error) {
    signOut();
    write($("sign-in-fault"), error.message);
    return;
  }
  $("token").value = "";
  write($("sign-in-fault"), "");
  for (const [id, visible] of [["entrance", false], ["main", true], ["leave", true]]) show($(id), visible);
  connected(true);
  start();
}

function start() {
  session = new AbortController();
  const { signal } = session;
  // One place to end all: what was begun for this token ends with it.
  startTraffic(signal).catch(complain);
  startTalkers(signal);
  startSets(signal);
  startRules(signal);
  startEvents(signal);
  const again = () => !document.hidden && renewStatus().then(() => connected(true), () => connected(false));
  const timer = setInterval(again, EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  if (!started) whenChanged(again);
  started = true;
}

// A page that showed something under one token begins afresh for the next.
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
