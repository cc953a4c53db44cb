"""Measures how well the texts of a page stand out from what is behind them."""

from playwright.sync_api import Page

LEAST = 4.5
_SCRIPT = """least => {
  const channel = value => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const numbers = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent.trim()).join('');
    const box = element.getBoundingClientRect();
    if (!text || !box.width || box.right < 0) continue;
    const style = getComputedStyle(element), isDrawn = element instanceof SVGElement;
    const circle = isDrawn && element.previousElementSibling;
    const back = circle && circle.tagName === 'circle' ? numbers(getComputedStyle(circle).fill) : behind(element);
    const front = luminance(numbers(isDrawn ? style.fill : style.color)), ground = luminance(back);
    const ratio = (Math.max(front, ground) + 0.05) / (Math.min(front, ground) + 0.05);
    if (ratio < least && !(element.tagName === 'title' || element.tagName === 'desc')) weak.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


def low_contrasts(page: Page) -> list[str]:
    """Return the texts whose contrast is below 4.5, with the ratio."""
    return [str(line) for line in page.evaluate(_SCRIPT, LEAST)]
