// The page: videos, the player, the talk and what is kept, wired together.

import { Client } from "./api.js";
import { Asking } from "./asking.js";
import { Conversation } from "./conversation.js";
import { Settings, askKey, listSessions } from "./dialogs.js";
import { $, announce, make, openDialog, save, tell } from "./dom.js";
import { fileName, toJson, toMarkdown, toVtt } from "./exports.js";
import { takeFiles, takeKeys } from "./inputs.js";
import { Player } from "./player.js";
import { Seen } from "./seen.js";
import { readModels, watchEngine } from "./server.js";
import { newSession, newTurn, restored } from "./session.js";
import { Store, current } from "./store.js";
import { clock } from "./times.js";
import { Videos } from "./videos.js";

// As `v2t caption` asks for its styles; each is whole in itself, so the talk before is not sent with it.
const PRESETS = [
  ["Caption", "Describe the video in one sentence."],
  ["Summary", "Describe the video in detail."],
  ["Timed events", "List the events of the video with their times."],
];
const SAVE_MS = 800;

const store = new Store();
const client = new Client({ askKey });
const settings = new Settings();
const videos = new Videos(client, store);
const asking = new Asking(client, videos);
const player = new Player();
const talk = new Conversation($("log"));
const seen = new Seen(client, videos, player);
let session = newSession();
let isKept = false;
let editing = null;
let saving = 0;

const shown = () => session.videos.find((video) => video.key === session.current) ?? null;

// ---- keeping

function keepSoon() {
  saving ||= setTimeout(keepNow, SAVE_MS);
}

async function keepNow() {
  clearTimeout(saving);
  saving = 0;
  if (!session.videos.length && !session.turns.length) return;
  session.updated = Date.now();
  try {
    await store.keep(session);
  } catch {
    announce("The browser could not keep this session: its storage is full or closed.");
  }
}

// ---- videos

async function show(video) {
  session.current = video?.key ?? null;
  drawTabs();
  $("drop").hidden = Boolean(video);
  seen.clear();
  if (video) {
    const opened = session;
    const source = await videos.source(video);
    if (session !== opened || session.current !== video.key) return;
    player.show(video, source);
    const { task, error } = videos.state(video);
    if (video.url || video.fileId) seen.look(video, null, settings.values.model);
    else if (!task && !error) videos.send(video); // the page was left while it was on its way
  } else player.hide();
  drawVideo();
  drawAbout();
  keepSoon();
}

function drawTabs() {
  const tabs = session.videos.map((video) => make(
    "button",
    { type: "button", className: "tab", title: video.name, "aria-pressed": String(video.key === session.current), onclick: () => show(video) },
    video.name,
  ));
  if (tabs.length) {
    tabs.push(make("button", { type: "button", className: "tab", id: "add", onclick: toggleDrop }, "Add another"));
    tabs.push(make("button", { type: "button", className: "tab", id: "remove", onclick: removeShown }, "Remove"));
  }
  $("tabs").replaceChildren(...tabs);
}

function toggleDrop() {
  $("drop").hidden = !$("drop").hidden;
  if (!$("drop").hidden) $("choose").focus();
}

async function removeShown() {
  const video = shown();
  if (!video) return;
  asking.stop();
  await videos.remove(session, video);
  await show(session.videos[0] ?? null);
  await keepNow();
}

/** How the shown video stands: on its way, refused, or there. */
function drawVideo() {
  const video = shown();
  const state = video ? videos.state(video) : null;
  const isSending = Boolean(state?.task);
  $("progress-box").hidden = !isSending;
  if (isSending) {
    $("progress").value = state.share ?? 0;
    $("progress-text").textContent = state.wait ?? (state.share < 1 ? `Sending ${video.name}, ${Math.floor(100 * (state.share ?? 0))} %` : "The server looks at it");
  }
  const error = state?.error;
  const isStopped = error?.name === "AbortError";
  const box = $("video-error");
  box.hidden = !error;
  if (error) {
    const words = isStopped ? "Sending was cancelled." : error.message;
    const id = error.requestId ? ` (${error.code}, request ${error.requestId})` : "";
    const again = make("button", { type: "button", onclick: () => (state.isLost ? $("file").click() : videos.send(video)) }, state.isLost ? "Choose the file" : "Send again");
    box.replaceChildren(words + id, " ", again);
  }
}

async function add(files) {
  await begun; // what is added to a session before the kept one is opened would be lost with it
  for (const file of files) {
    const objection = videos.objection(file);
    if (objection) {
      refuse(objection);
      continue;
    }
    const video = videos.add(session, file);
    named(video);
    show(video);
  }
  $("file").value = "";
}

function named(video) {
  if (session.videos.length === 1 && !session.turns.length) session.title = video.name;
  drawTitle();
  $("question").focus({ preventScroll: true });
  refuse(null);
}

function refuse(text) {
  tell($("refused"), text);
}

async function useAddress(event) {
  event.preventDefault();
  const url = $("address").value.trim();
  if (!/^(https?|file):\/\/[^\s]+$/i.test(url)) {
    refuse("An address begins with https:// or file:// and a name that the server was started with.");
    return;
  }
  await begun;
  $("address").value = "";
  const video = videos.addAddress(session, url);
  named(video);
  show(video);
}

// ---- asking

function about() {
  const video = shown();
  if (!video) return [];
  const range = player.range;
  const chosen = { key: video.key, start: range?.start ?? null, end: range?.end ?? null };
  if (!$("all").checked || session.videos.length < 2) return [chosen];
  const others = session.videos.filter((one) => one !== video).map((one) => ({ key: one.key, start: null, end: null }));
  return [...others, chosen]; // the one with the range last: the question follows it
}

function drawAbout() {
  const range = player.range;
  const video = shown();
  const isReady = Boolean(video);
  $("all-box").hidden = session.videos.length < 2;
  const whole = $("all").checked && session.videos.length > 1 ? `all ${session.videos.length} videos` : "the whole video";
  $("about").textContent = !isReady ? "Add a video first" : range ? `About ${clock(range.start)} to ${clock(range.end)}` : `About ${whole}`;
  $("about").classList.toggle("ranged", Boolean(range));
  $("send").disabled = !isReady;
  for (const button of $("presets").children) button.disabled = !isReady || asking.isBusy;
  $("send").hidden = asking.isBusy;
  $("stop").hidden = !asking.isBusy;
  drawHint();
}

function drawHint() {
  const lines = session.turns.length
    ? []
    : [
        shown() ? "Ask what happens, when, or how many. Times in answers lead to that place in the video." : "Answers will stand here.",
        settings.about ? `${settings.values.model}: ${settings.about}.` : null,
      ].filter(Boolean);
  $("hint").replaceChildren(...lines.map((line) => make("p", {}, line)));
  $("hint").hidden = !lines.length;
}

async function ask(question, asked = about(), more = {}) {
  const words = question.trim();
  if (!words || asking.isBusy || !asked.length) return;
  if (editing) {
    dropFrom(editing);
    endEdit();
  }
  const turn = newTurn(words, asked, { ...settings.values, ...more });
  session.turns.push(turn);
  drawHint();
  const done = asking.run(session, turn);
  drawAbout();
  await done;
  drawAbout();
  await keepNow();
  if (turn.state === "done") announce("Answer complete.");
}

function dropFrom(turn) {
  const at = session.turns.indexOf(turn);
  if (at >= 0) session.turns.splice(at);
  talk.show(session);
}

function again(turn, more = {}) {
  if (asking.isBusy) return;
  dropFrom(turn);
  ask(turn.question, turn.about, more);
}

function edit(turn) {
  if (asking.isBusy) return;
  editing = turn;
  $("editing").hidden = false;
  $("question").value = turn.question;
  const last = turn.about.at(-1);
  const video = session.videos.find((one) => one.key === last?.key);
  if (video && video === shown()) player.setRange(last.start, last.end);
  $("question").focus();
}

function endEdit() {
  editing = null;
  $("editing").hidden = true;
}

async function seek({ key, start, end }) {
  const video = session.videos.find((one) => one.key === key) ?? shown();
  if (!video) return;
  if (video !== shown()) await show(video);
  player.seek(start);
  $("screen").scrollIntoView({ block: "nearest" });
  announce(end === null ? `At ${clock(start)}` : `At ${clock(start)}, until ${clock(end)}`);
}

// ---- sessions

function drawTitle() {
  $("title").textContent = session.videos.length || session.turns.length ? session.title : "";
}

async function open(next) {
  asking.stop();
  await keepNow();
  videos.leave(session);
  session = next;
  current.set(session.id);
  endEdit();
  drawTitle();
  talk.show(session);
  await show(shown() ?? session.videos[0] ?? null);
}

async function openSessions() {
  await keepNow();
  listSessions({
    sessions: await store.sessions(),
    current: session.id,
    isKept,
    open: (one) => {
      $("sessions").close();
      if (one.id !== session.id) open(restored(one));
    },
    remove: async (one) => {
      for (const video of one.videos) await videos.forget(video);
      await store.forget(one);
      if (one.id === session.id) {
        session.videos = [];
        session.turns = [];
        await open(newSession());
      }
      await openSessions();
    },
  });
}

function exported(kind) {
  const [type, text] = {
    json: () => ["application/json", toJson(session)],
    md: () => ["text/markdown", toMarkdown(session)],
    vtt: () => ["text/vtt", toVtt(session, session.current)],
  }[kind]();
  save(fileName(session.title, kind), type, text);
  $("export").close();
}

// ---- beginning

function wire() {
  const presets = PRESETS.map(([name, words]) => make("button", { type: "button", title: words, onclick: () => ask(words, about(), { remember: false }) }, name));
  presets.push(make("button", { type: "button", onclick: () => $("question").focus() }, "Question…"));
  $("presets").replaceChildren(...presets);
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = $("question").value;
    if (!words.trim() || asking.isBusy || !shown()) return;
    $("question").value = "";
    ask(words);
  });
  $("stop").addEventListener("click", () => asking.stop());
  $("all").addEventListener("change", drawAbout);
  $("cancel-edit").addEventListener("click", endEdit);
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => add([...$("file").files]));
  $("address-form").addEventListener("submit", useAddress);
  $("cancel-upload").addEventListener("click", () => shown() && videos.cancel(shown()));
  $("open-sessions").addEventListener("click", openSessions);
  $("new-session").addEventListener("click", () => open(newSession()));
  $("open-export").addEventListener("click", () => openDialog($("export")));
  $("open-settings").addEventListener("click", () => openDialog($("settings")));
  for (const kind of ["json", "md", "vtt"]) $(`export-${kind}`).addEventListener("click", () => exported(kind));
  asking.addEventListener("update", ({ detail }) => {
    if (detail.session !== session) return;
    talk.update(session, detail.turn);
    if (detail.turn.seen) seen.told(detail.turn, session);
    keepSoon();
  });
  talk.addEventListener("seek", ({ detail }) => seek(detail));
  talk.addEventListener("again", ({ detail }) => again(detail));
  talk.addEventListener("alone", ({ detail }) => again(detail, { remember: false }));
  talk.addEventListener("edit", ({ detail }) => edit(detail));
  talk.addEventListener("cancel", () => asking.stop());
  videos.addEventListener("change", ({ detail }) => {
    if (detail === shown()) {
      drawVideo();
      if (detail.fileId && !videos.state(detail).task) seen.look(detail, player.range, settings.values.model);
    }
    keepSoon();
  });
  player.addEventListener("range", () => {
    drawAbout();
    if (shown()) seen.look(shown(), player.range, settings.values.model);
  });
  player.addEventListener("length", ({ detail }) => lengthKnown(detail.duration));
  seen.addEventListener("length", ({ detail }) => lengthKnown(detail));
  takeFiles(add);
  takeKeys(player, asking);
  addEventListener("pagehide", keepNow);
}

function lengthKnown(duration) {
  const video = shown();
  if (!video || !Number.isFinite(duration)) return;
  video.duration = duration;
  refuse(videos.tooLong(duration));
  drawAbout();
  keepSoon();
}

async function begin() {
  wire();
  watchEngine(client).then(() => settings.limits ?? readModels(client, settings, videos).then(drawAbout));
  isKept = await store.open();
  const kept = await store.sessions().catch(() => []);
  const last = kept.find((one) => one.id === current.get());
  readModels(client, settings, videos).then(drawAbout);
  await open(last ? restored(last) : newSession());
}

const begun = begin();
