// Takes files: proofs, certificates and revocation lists, and anything else that is dropped by mistake.

const LARGEST_BYTES = 4e6; // A proof takes some 5 kB a ledger; what is larger is another file.

/** What a file was taken for. */
const PROOF = "proof";

/** Takes files. Certificates beside other files are left out: whoever gives a proof could give a root of their own with it. */
async function takeFiles(files) {
  const all = [...files]; // now: what was pasted is gone later
  if (!verify) await ready;
  const certificates = [], others = [];
  for (const file of all) (await isCertificate(file) ? certificates : others).push(file);
  let proofs = 0;
  for (const file of others.length ? others : certificates) proofs += (await takeFile(file)) === PROOF ? 1 : 0;
  if (others.length && certificates.length) {
    say(`Not trusted, since it came together with other files: ${listed(certificates.map((file) => file.name))}. Get certificates from the authority itself, and drop them alone.`, true);
  } else if (proofs > 1) say("Proofs are verified one at a time: this is the last of those files.", true);
}

async function isCertificate(file) {
  try {
    return verify !== null && asPem(new Uint8Array(await file.slice(0, LARGEST_BYTES).arrayBuffer())) !== null;
  } catch {
    return false;
  }
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
