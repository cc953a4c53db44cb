// Says in words what a report says in names and codes.
"use strict";

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

/** Splits "2026-11-21T10:16:32Z ± 2 h (the clock of …)" into time, reach and whose clock it is. */
function readWhen(when) {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z\s*([^(]*?)\s*(?:\((.*)\))?$/s.exec(when);
  if (!match || Number.isNaN(Date.parse(`${match[1]}Z`))) return null;
  const moment = new Date(`${match[1]}Z`);
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "long", year: "numeric" }).format(moment);
  const reach = /^± (\d+(?:\.\d+)?) (s|h)$/.exec(match[3]);
  return {
    latest: moment.getTime() / 1000 + (reach ? reach[1] * SECONDS[reach[2]] : 0),
    iso: `${match[1]}Z`,
    text: `${day.replaceAll(" ", NO_BREAK)}, ${[match[1].slice(11) + (match[2] || ""), "UTC", ...match[3].split(" ")].join(NO_BREAK).trim()}`,
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

const SECONDS = { s: 1, h: 3600 };
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
