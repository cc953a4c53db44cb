// Shows what came of a proof as a whole: a problem, the verdict, the event.

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
