// Puts the page to work: saving, files by every way, and the start of the verifier.

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
