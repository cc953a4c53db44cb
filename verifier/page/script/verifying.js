// Asks the verifier inside the page about a proof, under the trust that the user stated here.

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
