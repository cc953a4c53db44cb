// Shows what each ledger proves, and lets the user confirm what it rests on.

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
  return element("div", { className: "confirm" },
    element("h3", {}, isConfirmed(offers) ? "Confirmed by you" : "For you to confirm"),
    element("p", {}, `Look up ${first.number ? `block ${first.number}` : "this block"} of ${ledgerName(ledger.network)} with a source that you trust, and that does not depend on whoever gave you this file. Its hash must be:`),
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
  const box = element("input", { type: "checkbox", id: key, checked: compared[offer.kind].has(offer.value), on: { change: () => confirmOffer(offer, box.checked) } });
  box.dataset.key = key;
  return element("div", { className: "compare" },
    offer.name ? element("p", { className: "break" }, element("strong", {}, offer.name)) : "",
    hash(offer.text, key),
    element("label", { className: "check", htmlFor: key }, box, element("span", {}, CONFIRMED[offer.kind])));
}

function confirmOffer(offer, confirmed) {
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
    if (match) confirmOffer(match, true);
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
