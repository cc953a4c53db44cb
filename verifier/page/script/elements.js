// Makes the elements of the page. What comes from a file is only ever set as text.

const byId = (id) => document.getElementById(id);

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
