// Takes files and the user’s trust, asks the verifier inside the page, and shows its answer.
//
// What comes from a file is only ever set as text. The page’s policy lets nothing reach a network.
"use strict";

const LARGEST_BYTES = 4e6; // A proof takes some 5 kB a ledger; what is larger is another file.
const PLACE = /^block (\d+), ((?:0x)?[0-9a-f]{64})\b/;
const LONG_HEX = /(0x)?[0-9a-f]{16,}/gi;
const NO_BREAK = "\u00a0";
const SHOWN = { proven: "Proven", consistent: "Consistent", refuted: "Wrong" };
const MARKS = { holds: "✓", open: "?", wrong: "✗" };
const CHAINS = {
  1: "Ethereum", 10: "OP Mainnet", 56: "BNB Smart Chain", 100: "Gnosis", 137: "Polygon", 8453: "Base", 42161: "Arbitrum One",
  43114: "Avalanche", 11155111: "Sepolia, a test chain", 84532: "Base Sepolia, a test chain", 31337: "a local test chain",
};
const TEST_NETWORKS = /^(eip155:(31337|1337|11155111|84532)|btc:(?!mainnet$).*)$/;
const TEST_WARNING = "A test network: its blocks cost next to nothing to make, so they prove little to others.";

/** What a file was taken for. */
const PROOF = "proof";

/** The proof that is on the page: its name, text, and what each ledger offered to confirm. */
let proof = null;
/** The last answer about it. */
let answer = null;
/** What the user compared: hashes of blocks of EVM chains and of Bitcoin, and certificates that a proof carries. */
const compared = { blocks: new Set(), headers: new Set(), authorities: new Set() };
/** PEM files that the user added, with their names. */
let authorities = [];
/** What a comparison with the user’s document came to. */
let documentSays = null;

const byId = (id) => document.getElementById(id);

// --- elements -----------------------------------------------------------------------------------

/** Returns an element; texts among its children are set as text. */
function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function button(label, key, act, more) {
  const made = element("button", { type: "button", on: { click: act }, ...more }, label);
  made.dataset.key = key;
  return made;
}

/** Returns a text; where hashes in it stand in full elsewhere, their ends are enough. */
function withHashes(text, shortened) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LONG_HEX)) {
    const value = match[0];
    const code = element("code", {}, shortened && value.length > 24 ? `${value.slice(0, 10)}…${value.slice(-8)}` : value);
    if (shortened) code.title = value;
    parts.push(text.slice(end, match.index), code);
    end = match.index + value.length;
  }
  return [...parts, text.slice(end)];
}

/** Returns a hash or serial number on a line of its own, which can be copied. */
function hash(value, key) {
  const copy = button("Copy", `copy-${key}`, () => copyText(value, copy), { className: "copy screen", "aria-label": `Copy ${value}` });
  return element("div", { className: "hash" }, element("code", {}, value), copy);
}

async function copyText(value, trigger) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(value);
  } catch {
    const code = trigger.parentElement.querySelector("code");
    getSelection().selectAllChildren(code);
    copied = document.execCommand("copy");
  }
  trigger.textContent = copied ? "Copied" : "Selected";
  say(copied ? "Copied." : "The value is selected: copy it with your keyboard.");
  setTimeout(() => { trigger.textContent = "Copy"; }, 2000);
}

/** Returns the mark of a standing: a form of its own for each, so that it takes no colour to tell them. */
function mark(standing) {
  const forms = { proven: "M7 13.5l3.5 3.5L17.5 9", consistent: "M7 12.5h10", refuted: "M8 8l8 8M16 8l-8 8" };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["class", "mark-of"], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  const ring = document.createElementNS(svg.namespaceURI, "circle");
  for (const [key, value] of [["cx", "12"], ["cy", "12"], ["r", "10.75"]]) ring.setAttribute(key, value);
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", forms[standing]);
  svg.append(ring, path);
  return svg;
}

/** Tells something in passing: to screen readers always, and to eyes where nothing else shows it. */
function say(text, visible) {
  byId("spoken").textContent = text;
  byId("note").textContent = visible ? text : "";
  byId("note").hidden = !visible || !text;
}

// --- words --------------------------------------------------------------------------------------

/** Splits "2026-11-21T10:16:32Z ± 2 h (the clock of …)" into time, reach and whose clock it is. */
function readWhen(when) {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z\s*([^(]*?)\s*(?:\((.*)\))?$/s.exec(when);
  if (!match || Number.isNaN(Date.parse(`${match[1]}Z`))) return null;
  const moment = new Date(`${match[1]}Z`);
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "long", year: "numeric" }).format(moment);
  const reach = /^± (\d+(?:\.\d+)?) (µs|ms|s|min|h)$/.exec(match[3]);
  return {
    latest: moment.getTime() / 1000 + (reach ? reach[1] * SECONDS[reach[2]] : 0),
    iso: `${match[1]}Z`,
    text: `${day.replaceAll(" ", NO_BREAK)}, ${[match[1].slice(11), "UTC", ...match[3].split(" ")].join(NO_BREAK).trim()}`,
    clock: match[4] ? `by the ${match[4].replace(/^the /, "")}` : "",
  };
}

function ledgerName(network) {
  const [scheme, reference] = [network.split(":")[0], network.split(":").slice(1).join(":")];
  if (scheme === "eip155") return Object.hasOwn(CHAINS, reference) ? `EVM chain ${reference} (${CHAINS[reference]})` : `EVM chain ${reference}`;
  if (scheme === "btc") return reference === "mainnet" ? "Bitcoin" : `Bitcoin ${reference}`;
  if (scheme === "rfc3161") return `Time-stamp authority ${reference}`;
  return network;
}

const SECONDS = { µs: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };
/** Orders times by the latest instant that each allows: a clock that may be hours off proves a later time. */
const byLatest = (left, right) => left.latest - right.latest;
const needsRoot = (ledger) => ledger.network.startsWith("rfc3161:");
const ofFound = (checks, found) => checks.filter((check) => check.found === found);
const listed = (texts) => (texts.length < 2 ? texts.join("") : `${texts.slice(0, -1).join(", ")} and ${texts[texts.length - 1]}`);

/** Returns the checks that stay open whatever the user trusts; but an authority’s chain may lead to a root that he adds. */
const lacking = (ledger) => ofFound(ledger.verdict.checks, "open").filter((check) => !check.name.startsWith("trusted ") && !(needsRoot(ledger) && check.name === "chain"));
const isLacking = (ledger) => lacking(ledger).length > 0;

/** Returns what stands in for options of the command line, which this page has not. */
const inWords = (detail) => detail.replace(/,? with --trust-[a-z]+/g, " on this card");

// --- asking -------------------------------------------------------------------------------------

let verify = null;

/** Starts the verifier; a fresh one takes the place of one that stopped. */
async function start() {
  const packed = Uint8Array.from(atob(byId("wasm").textContent), (letter) => letter.charCodeAt(0));
  const bytes = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const module = await WebAssembly.compile(bytes);
  const run = async () => {
    const go = new Go();
    const instance = await WebAssembly.instantiate(module, go.importObject);
    go.run(instance).then(run, run);
    verify = window.vaultmeshVerify;
  };
  await run();
}

/** Asks about a text under a trust. */
function ask(text, trust) {
  try {
    return JSON.parse(verify(text, JSON.stringify(trust)));
  } catch (error) {
    return {
      authorities: [],
      problem: {
        what: "The verifier stopped. This says nothing about the proof.",
        where: String(error),
        mend: "Load the page again. If it happens again, verify the file with the command-line verifier, and report it.",
      },
    };
  }
}

/** Returns what the user states; revocation lists count beside certificates, and so all go into one file. */
function trust() {
  const pem = [...authorities.map((authority) => authority.pem), ...compared.authorities].join("\n");
  return { blocks: [...compared.blocks], headers: [...compared.headers], authorities: pem ? [pem] : [] };
}

function takeProof(name, text) {
  if (!text.trim()) return showProblem(name, { what: "The file is empty.", where: "It holds nothing but blanks.", mend: "Ask for it again." });
  const bare = ask(text, { blocks: [], headers: [], authorities: [] });
  if (bare.problem) return showProblem(name, bare.problem);
  proof = { name, text, offers: bare.report.ledgers.map(offersOf) };
  documentSays = null;
  clearProblem();
  say("");
  update();
  byId("verdict").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start" });
}

/** Returns what the user may compare so that a ledger proves: first the block that holds the anchor, which is easiest to look up. */
function offersOf(ledger) {
  const needed = ledger.neededTrust;
  const blocks = (needed.blocks || []).map((value) => ({ kind: "blocks", value, text: value }));
  const headers = (needed.headers || []).map((value) => ({ kind: "headers", value, text: value }));
  const roots = (needed.authorities || []).flatMap((value) => described(value).parts.map((part) => ({ kind: "authorities", value, text: part.sha256, name: part.name })));
  const own = PLACE.exec(ledger.place);
  if (own && headers.length) {
    const rest = headers.filter((offer) => offer.value !== own[2]);
    return [{ kind: "headers", value: own[2], text: own[2], number: own[1] }, ...rest];
  }
  return [...blocks.map((offer) => ({ ...offer, number: own && own[2] === offer.value ? own[1] : "" })), ...headers, ...roots];
}

/** Verifies again and shows what came of it; where the user was stays. */
function update() {
  if (!proof) return;
  const answered = ask(proof.text, trust());
  if (answered.problem) return showProblem(proof.name, answered.problem);
  answer = answered;
  show();
}

// --- taking files -------------------------------------------------------------------------------

async function takeFiles(files) {
  let proofs = 0;
  for (const file of [...files]) proofs += (await takeFile(file)) === PROOF ? 1 : 0;
  if (proofs > 1) say("Proofs are verified one at a time: this is the last of those files.", true);
}

async function takeFile(file) {
  if (!verify) await ready;
  if (!verify) return;
  if (file.size > LARGEST_BYTES) {
    return showProblem(file.name, {
      what: `This is no proof file: it has ${size(file.size)}.`,
      where: `A proof file has some ${size(5000)} for each ledger; this page reads up to ${size(LARGEST_BYTES)}.`,
      mend: "Choose the proof itself, whose name mostly ends in .proof.json. If this is the document that was recorded, "
        + "load its proof first; then compare the document below “The event”.",
    });
  }
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    return showProblem(file.name, {
      what: "The file can’t be read.", where: "The browser could not open it; a folder can’t be opened either.",
      mend: "Choose a single file, and see that you may read it.",
    });
  }
  const pem = asPem(bytes);
  if (pem) return takeAuthority(file.name, pem);
  const text = asText(bytes);
  if (text === null) return showProblem(file.name, notText(bytes));
  takeProof(file.name, text);
  return PROOF;
}

/** Returns a file’s text, or null if it is none; no byte is changed or left out. */
function asText(bytes) {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function notText(bytes) {
  const kinds = [["%PDF", "a PDF document"], ["PK\u0003\u0004", "a ZIP archive or an Office document"], ["\u0089PNG", "a picture"],
    ["\u00ff\u00d8\u00ff", "a picture"], ["\u001f\u008b", "a compressed file"], ["\u00ff\u00fe", "a text in UTF-16"], ["\u00fe\u00ff", "a text in UTF-16"]];
  const head = String.fromCharCode(...bytes.slice(0, 4));
  const kind = kinds.find(([start]) => head.startsWith(start));
  return {
    what: kind ? `This is no proof file: it is ${kind[1]}.` : "This is no proof file: it is not text.",
    where: `It begins with the bytes ${[...bytes.slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}; a proof file begins with {.`,
    mend: "Choose the proof itself, whose name mostly ends in .proof.json. If it came in an archive, unpack it first. "
      + "If this is the document that was recorded, load its proof first; then compare the document below “The event”.",
  };
}

/** Returns certificates and revocation lists as PEM, also those that come as bare bytes; null for anything else. */
function asPem(bytes) {
  const text = asText(bytes);
  if (text !== null) return text.includes("-----BEGIN ") && !text.trimStart().startsWith("{") ? text : null;
  if (bytes[0] !== 0x30 || !(bytes[1] & 0x80)) return null;
  const body = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replace(/.{64}/g, "$&\n");
  const forms = ["CERTIFICATE", "X509 CRL"].map((label) => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`);
  return forms.find((form) => described(form).problem === undefined) || forms[0];
}

const described = (pem) => ask("", { blocks: [], headers: [], authorities: [pem] }).authorities[0] || { parts: [], problem: undefined };

function takeAuthority(name, pem) {
  const authority = described(pem);
  if (authority.problem) return showProblem(name, authority.problem);
  clearProblem();
  if (!authorities.some((known) => known.pem === pem)) authorities.push({ name, pem, parts: authority.parts });
  const names = listed(authority.parts.map((part) => part.name));
  const onlyLists = authority.parts.every((part) => part.kind === "list");
  say(onlyLists ? `The revocation list of ${names} is kept: it counts beside a certificate.` : `You added ${names}.`, !proof);
  if (proof) update();
}

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`);

// --- showing ------------------------------------------------------------------------------------

function showProblem(name, problem) {
  byId("problem").replaceChildren(
    element("h2", {}, problem.what),
    element("dl", {},
      element("dt", {}, "File"), element("dd", { className: "break" }, name),
      element("dt", {}, "Where"), element("dd", { className: "break" }, problem.where),
      element("dt", {}, "What to do"), element("dd", {}, problem.mend || "Ask for the file again.")),
    proof ? element("p", { className: "quiet" }, `Below is still the result for ${proof.name}.`) : "",
  );
  byId("problem").hidden = false;
  say("");
  byId("problem").focus();
}

function clearProblem() {
  byId("problem").hidden = true;
  byId("problem").replaceChildren();
}

/** Shows the answer anew; the element that has the focus, and lists that are folded out, stay so. */
function show() {
  const focused = document.activeElement && document.activeElement.dataset.key;
  const open = new Set([...document.querySelectorAll("details[open]")].map((details) => details.dataset.key));
  byId("result").hidden = false;
  document.body.classList.add("has-result");
  byId("drop").classList.add("small");
  showSource();
  showVerdict();
  showEvent();
  byId("ledgers").replaceChildren(...answer.report.ledgers.map(ledgerCard));
  showAuthorities();
  for (const details of document.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  const again = focused && document.querySelector(`[data-key="${CSS.escape(focused)}"]`);
  if (again) again.focus({ preventScroll: true });
  document.title = `${SHOWN[answer.report.overall.standing]}: ${proof.name}`;
}

function showSource() {
  byId("source").replaceChildren(element("dl", { className: "facts" },
    element("dt", {}, "Proof file"), element("dd", { className: "break" }, `${proof.name}, ${answer.file.bytes.toLocaleString("en-GB")} bytes`),
    element("dt", {}, "Its SHA-256"), element("dd", {}, hash(answer.file.sha256, "file"))));
}

function showVerdict() {
  const { overall } = answer.report;
  const verdict = byId("verdict");
  verdict.className = `verdict is-${overall.standing}`;
  const word = overall.standing === "consistent" ? "Consistent, not proven" : SHOWN[overall.standing];
  verdict.replaceChildren(
    mark(overall.standing),
    element("div", {},
      element("h2", { className: "word" }, word),
      sentences(),
      overall.caveat ? element("p", { className: "break" }, `Weakness: ${overall.caveat}.`) : ""),
  );
}

function sentences() {
  const { overall, ledgers } = answer.report;
  if (overall.standing === "proven") return provenSentences(ledgers);
  if (overall.standing === "refuted") return wrongSentences(ofFound(overall.checks, "wrong"));
  if (ledgers.some((ledger) => !isLacking(ledger))) {
    return [element("p", { className: "sentence" }, "Nothing in this file is wrong, but it rests on something that you have not confirmed."),
      element("p", {}, "Confirm what one of the ledgers below rests on, and it is proven.")];
  }
  return [element("p", { className: "sentence" }, "Nothing in this file is wrong, but it does not carry enough to prove anything yet."),
    element("p", {}, "Each check below that is open says what is missing. Ask for a newer proof file.")];
}

function wrongSentences(wrong) {
  const most = 5;
  return [
    element("p", { className: "sentence" }, "This file contradicts itself. Do not rely on it."),
    element("ul", { className: "wrongs" }, wrong.slice(0, most).map((check) => element("li", { className: "break" }, element("strong", {}, check.name), `: ${check.detail}`))),
    wrong.length > most ? element("p", {}, `${wrong.length - most} more are listed with the ledgers.`) : "",
  ];
}

function provenSentences(ledgers) {
  const proving = ledgers.filter((ledger) => ledger.verdict.standing === "proven");
  const others = ledgers.filter((ledger) => ledger.verdict.standing !== "proven");
  const [first] = proving.map((ledger) => readWhen(ledger.when)).filter(Boolean).sort(byLatest);
  const what = answer.report.event ? "This event" : "This root";
  const names = (which) => listed(which.map((ledger) => ledgerName(ledger.network).replace(/^Time-stamp/, "time-stamp")));
  return [
    first
      ? element("p", { className: "sentence" }, `${what} was recorded by `, element("time", { dateTime: first.iso }, first.text), ".")
      : element("p", { className: "sentence" }, `${what} was recorded, as the ledgers below say.`),
    element("p", {}, `Proven by ${names(proving)}, under the trust that you stated.`,
      others.length ? ` ${names(others)} ${others.length > 1 ? "prove" : "proves"} nothing yet.` : ""),
    proving.every((ledger) => TEST_NETWORKS.test(ledger.network)) ? element("p", {}, "Only test networks prove it, and their blocks cost next to nothing to make.") : "",
  ];
}

function showEvent() {
  const { event, overall, ledgers } = answer.report;
  const ofLedgers = new Set(ledgers.flatMap((ledger) => ledger.verdict.checks.map((check) => `${ledger.network} ${check.name}: ${check.detail}`)));
  const own = overall.checks.filter((check) => !ofLedgers.has(`${check.name}: ${check.detail}`));
  const choose = element("input", { type: "file", id: "document", className: "file", on: { change: () => { takeDocument(choose.files[0]); choose.value = ""; } } });
  choose.dataset.key = "document";
  const says = documentSays && element("p", { className: documentSays.same ? "good" : "bad" }, `${documentSays.same ? "✓" : "✗"} ${documentSays.text}`);
  const weakness = own.map((check) => /; (legacy path.*)$/.exec(check.detail)).filter(Boolean).map((match) => `The way to its batch is a ${match[1]}.`)[0];
  byId("event-part").hidden = !event;
  byId("event").replaceChildren(
    element("dl", { className: "facts" },
      element("dt", {}, "Its hash"), element("dd", {}, hash(event, "event")),
      weakness ? [element("dt", {}, "Weakness"), element("dd", {}, weakness)] : ""),
    element("div", { className: "confirm document" },
      element("h3", {}, "Is it your document?"),
      element("p", {}, "An event that was made from a file has the file’s SHA-256 as its hash. Drop the document here, or choose it, and the page compares. It stays on this computer."),
      element("p", { className: "actions screen" }, element("label", { className: "button", htmlFor: "document" }, "Choose the document"), choose),
      says),
    checkList(own, "event", "Each check of the event itself", overall.statement));
}

async function takeDocument(file) {
  const event = answer.report.event.replace(/^(sha256:|0x)/, "").toLowerCase();
  try {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    const text = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    documentSays = text === event
      ? { same: true, text: `${file.name} is the recorded document, to the last byte.` }
      : { same: false, text: `${file.name} is another document, or was changed: its SHA-256 is ${text}.` };
  } catch (error) {
    const reason = window.crypto && crypto.subtle ? `it can’t be read (${error.name})` : "this browser computes no SHA-256 for pages from disk";
    documentSays = { same: false, text: `${file.name} is not compared: ${reason}. Compute its SHA-256 with another program.` };
  }
  showEvent();
  say(documentSays.text);
}

function ledgerCard(ledger, place) {
  const { standing, caveat, checks, statement } = ledger.verdict;
  const key = `ledger-${place}`;
  const facts = [["What", whatIsProven(ledger)]];
  if (ledger.when) facts.push(["By when", whenOf(ledger.when)]);
  facts.push(["Where", placeOf(ledger.place, key)]);
  if (ledger.trust) facts.push(["Rests on", withHashes(ledger.trust, true)]);
  if (caveat) facts.push(["Weakness", caveat]);
  if (TEST_NETWORKS.test(ledger.network)) facts.push(["Weakness", TEST_WARNING]);
  return element("section", { className: `card ledger is-${standing}`, "aria-labelledby": `${key}-title` },
    element("header", {}, mark(standing), element("h3", { id: `${key}-title` }, ledgerName(ledger.network)), element("p", { className: "badge" }, badge(ledger))),
    element("dl", { className: "facts" }, facts.flatMap(([term, said]) => [element("dt", {}, term), element("dd", { className: "break" }, said)])),
    standing === "refuted" || isLacking(ledger) ? "" : confirmation(ledger, place, key),
    checkList(checks, key, "Each check", statement));
}

function badge(ledger) {
  if (ledger.verdict.standing !== "consistent") return SHOWN[ledger.verdict.standing];
  return isLacking(ledger) ? "Consistent, evidence is missing" : "Consistent, not confirmed";
}

function whatIsProven(ledger) {
  const what = answer.report.event ? "the event’s batch" : "the root";
  if (ledger.verdict.standing === "proven") return `That ${what} was in this ledger by then.`;
  if (ledger.verdict.standing === "refuted") return `Nothing: ${listed(ofFound(ledger.verdict.checks, "wrong").map((check) => check.name))} failed.`;
  return isLacking(ledger) ? `Nothing yet, whatever you confirm: ${listed(lacking(ledger).map((check) => check.detail))}.` : `Nothing yet. Once you confirm what it rests on: that ${what} was in this ledger by then.`;
}

function whenOf(text) {
  const when = readWhen(text);
  if (!when) return text;
  return [element("time", { dateTime: when.iso }, when.text), when.clock ? element("span", { className: "quiet clock" }, when.clock) : ""];
}

/** Shows each hash and serial number of a place on a line of its own. */
function placeOf(text, key) {
  const bare = (part) => part.replace(/^[\s,:]+|[\s,:]+$/g, "");
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LONG_HEX)) {
    parts.push(bare(text.slice(end, match.index)), hash(match[0], `${key}-${match.index}`));
    end = match.index + match[0].length;
  }
  return [...parts, bare(text.slice(end))];
}

// --- confirming ---------------------------------------------------------------------------------

function confirmation(ledger, place, key) {
  const offers = proof.offers[place];
  if (!offers.length) return needsRoot(ledger) ? rootRequest(ledger, key, []) : "";
  return offers[0].kind === "authorities" ? rootRequest(ledger, key, offers) : comparison(ledger, offers, key);
}

function comparison(ledger, offers, key) {
  const [first, ...further] = offers;
  const chain = first.kind === "blocks" ? `the chain ${ledger.network.replace("eip155:", "")}` : ledgerName(ledger.network);
  return element("div", { className: "confirm" },
    element("h3", {}, isConfirmed(offers) ? "Confirmed by you" : "For you to confirm"),
    element("p", {}, `Look up ${first.number ? `block ${first.number}` : "this block"} of ${chain} with a source that you trust, and that does not depend on whoever gave you this file. Its hash must be:`),
    compareBox(first, `${key}-box-0`),
    pastedHash(offers, key),
    further.length ? details(`${key}-later`, "Or a block on top of it, which confirms it as well", further.map((offer, index) => compareBox(offer, `${key}-box-${index + 1}`))) : "");
}

const isConfirmed = (offers) => offers.some((offer) => compared[offer.kind].has(offer.value));

const CONFIRMED = {
  blocks: "I compared this with a source I trust: the block has this hash, and is final there.",
  headers: "I compared this with a source I trust: this block is in the chain.",
  authorities: "I compared this with what the authority itself publishes, and trust its clock.",
};

function compareBox(offer, key) {
  const box = element("input", { type: "checkbox", id: key, checked: compared[offer.kind].has(offer.value), on: { change: () => confirm(offer, box.checked) } });
  box.dataset.key = key;
  return element("div", { className: "compare" },
    offer.name ? element("p", { className: "break" }, element("strong", {}, offer.name)) : "",
    hash(offer.text, key),
    element("label", { className: "check", htmlFor: key }, box, element("span", {}, CONFIRMED[offer.kind])));
}

function confirm(offer, confirmed) {
  if (confirmed) compared[offer.kind].add(offer.value);
  else compared[offer.kind].delete(offer.value);
  update();
}

/** Lets the page do the comparison, which eyes do badly. */
function pastedHash(offers, key) {
  const says = element("p", { className: "bad", role: "status" });
  const bare = (value) => value.toLowerCase().replace(/[\s:]/g, "").replace(/^0x/, "");
  const compare = (complete) => {
    const typed = bare(field.value);
    const match = offers.find((offer) => bare(offer.text) === typed);
    says.textContent = "";
    if (match) confirm(match, true);
    else if (typed && (complete || typed.length >= 64)) says.textContent = "✗ This is another hash. See whether block number and chain are the same.";
  };
  const field = element("input", { type: "text", id: `${key}-pasted`, spellcheck: false, autocomplete: "off", className: "pasted", on: { input: () => compare(false), change: () => compare(true) } });
  field.dataset.key = field.id;
  return element("div", { className: "paste-hash screen" }, element("label", { htmlFor: field.id }, "Or paste the hash that your source shows, and the page compares"), field, says);
}

function rootRequest(ledger, key, offers) {
  const choose = element("input", { type: "file", id: `${key}-root`, className: "file", multiple: true, accept: ".pem,.crt,.cer,.der,.crl", on: { change: async () => { await takeFiles(choose.files); choose.value = ""; } } });
  choose.dataset.key = choose.id;
  const own = ledger.verdict.standing === "proven" && !isConfirmed(offers);
  const [root] = ledger.verdict.checks.filter((check) => check.name === "chain").map((check) => /^up to (.+)$/.exec(check.detail)).filter(Boolean);
  const which = root ? `the root certificate ${root[1]}` : "the authority’s root certificate";
  const request = offers.length
    ? ["The file carries a root certificate. Anyone can make one: compare its SHA-256 with what the authority itself publishes.", ...offers.map((offer, index) => compareBox(offer, `${key}-box-${index}`)), element("p", {}, "Or get the root certificate from the authority itself, and drop the file (PEM) anywhere on this page.")]
    : [element("p", { className: "break" }, `Get ${which} from the authority itself, and drop the file (PEM) anywhere on this page, or choose it.`)];
  const [open] = ofFound(ledger.verdict.checks, "open").filter((check) => check.name === "trusted root");
  if (authorities.length && open) request.push(element("p", { className: "bad break" }, `✗ The certificates that you added do not confirm it: ${open.detail}.`));
  return element("div", { className: "confirm" },
    element("h3", {}, own || isConfirmed(offers) ? "Confirmed by you" : "For you to confirm"),
    own ? element("p", {}, "It leads to a certificate that you added; it is listed below.") : request,
    element("p", { className: "actions screen" }, element("label", { className: "button", htmlFor: choose.id }, own ? "Add another certificate" : "Choose a certificate"), choose));
}

function showAuthorities() {
  const items = authorities.flatMap((authority, place) => [element("section", { className: "card authority" },
    authority.parts.map((part) => element("dl", { className: "facts" },
      element("dt", {}, { root: "Root", intermediate: "Intermediate", certificate: "Certificate", list: "Revocation list" }[part.kind]), element("dd", { className: "break" }, element("strong", {}, part.name)),
      part.from ? [element("dt", {}, "Valid"), element("dd", {}, `${part.from} to ${part.until || "…"}`)] : "",
      element("dt", {}, "SHA-256"), element("dd", {}, hash(part.sha256, `authority-${place}`)))),
    element("p", { className: "actions screen" }, button("Trust it no longer", `remove-${place}`, () => dropAuthority(place)), element("span", { className: "quiet break" }, `from ${authority.name}`)))]);
  byId("authorities").replaceChildren(...(items.length
    ? [element("p", { className: "quiet" }, "Compare each fingerprint with the one that the authority publishes. Intermediates and lists help, and are not trusted by themselves."), ...items]
    : [element("p", { className: "quiet" }, "None. Nothing is trusted by itself, neither this page’s maker nor your computer’s own list.")]));
}

function dropAuthority(place) {
  authorities = authorities.filter((_, other) => other !== place);
  update();
  byId("verdict").focus({ preventScroll: true });
}

// --- checks -------------------------------------------------------------------------------------

function details(key, summary, ...content) {
  const made = element("details", {}, element("summary", {}, summary), ...content);
  made.dataset.key = key;
  made.firstChild.dataset.key = `${key}-summary`;
  return made;
}

function checkList(checks, key, title, statement) {
  const counts = ["holds", "open", "wrong"].map((found) => [found, ofFound(checks, found).length]).filter(([, count]) => count);
  const counted = counts.map(([found, count]) => `${count} ${found === "holds" && count > 1 ? "hold" : found}`).join(", ");
  return details(`${key}-checks`, [title, element("span", { className: "quiet" }, ` ${counted}`)],
    element("ul", { className: "checks" }, checks.map((check) => element("li", { className: `found-${check.found}` },
      element("span", { className: "found", role: "img", "aria-label": check.found }, MARKS[check.found] || "?"),
      element("span", { className: "break" }, element("strong", {}, check.name), " ", check.found === "open" ? inWords(check.detail) : check.detail)))),
    statement ? element("p", { className: "statement break" }, element("span", { className: "quiet" }, "In one sentence: "), ...withHashes(statement)) : "");
}

// --- saving -------------------------------------------------------------------------------------

function save() {
  const about = document.querySelector("meta[name=verifier]");
  const saved = {
    format: "vaultmesh-verification",
    version: "1",
    verifier: { wasm: `sha256:${about.content}`, go: about.dataset.go },
    proof: { name: proof.name, bytes: answer.file.bytes, sha256: answer.file.sha256 },
    trust: trust(),
    report: answer.report,
  };
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(saved, null, 2)}\n`], { type: "application/json" }));
  element("a", { href: address, download: `${proof.name.replace(/(\.proof)?\.json$/, "")}.report.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// --- wiring -------------------------------------------------------------------------------------

function openPaste() {
  const hidden = byId("paste-part").toggleAttribute("hidden");
  byId("paste-open").setAttribute("aria-expanded", String(!hidden));
  if (!hidden) byId("pasted").focus();
}

async function pasteVerify() {
  if (!verify) await ready;
  const text = byId("pasted").value;
  const bytes = new TextEncoder().encode(text);
  return asPem(bytes) ? takeAuthority("pasted text", text) : takeProof("pasted text", text);
}

function wire() {
  const choose = byId("choose");
  choose.addEventListener("change", async () => { await takeFiles(choose.files); choose.value = ""; });
  byId("paste-open").addEventListener("click", openPaste);
  byId("paste-verify").addEventListener("click", pasteVerify);
  byId("save").addEventListener("click", save);
  byId("print").addEventListener("click", () => window.print());
  let folded = [];
  window.addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; for (const part of folded) part.open = true; });
  window.addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const files = [...event.dataTransfer.files];
    const text = event.dataTransfer.getData("text/plain");
    if (files.length && proof && event.target.closest && event.target.closest(".document")) takeDocument(files[0]);
    else if (files.length) takeFiles(files);
    else if (text) takeProof("dropped text", text);
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input, textarea")) return;
    const [files, text] = [event.clipboardData.files, event.clipboardData.getData("text/plain")];
    if (files.length) takeFiles(files);
    else if (text) { byId("pasted").value = text; pasteVerify(); }
  });
  const about = document.querySelector("meta[name=verifier]");
  byId("identity").textContent = about.content;
  byId("toolchain").textContent = about.dataset.go;
}

wire();
const ready = start().then(
  () => { byId("busy").hidden = true; document.body.classList.add("ready"); },
  (error) => {
    byId("busy").hidden = true;
    showProblem("this page", {
      what: "This browser can’t run the verifier.", where: String(error),
      mend: "Open the page with a current Firefox, Chrome, Edge or Safari, or use the command-line verifier.",
    });
  },
);
