// Writes node_cron.json: what node-cron 3.0.3 makes of each expression below, and of 700 that are drawn at random.
//
//   cd $(mktemp -d) && npm install node-cron@3.0.3
//   node PATH/tests/vectors/cron/build.mjs node_modules/node-cron > PATH/tests/vectors/cron/node_cron.json
//
// A row is [expression, sets] or [expression, null, the field that node-cron names, "" if it names none].
// Sets are the numbers of second, minute, hour, day of month, month and week day, as ranges.

import {createRequire} from 'node:module';
import path from 'node:path';

const folder = path.resolve(process.argv[2]);
const TimeMatcher = createRequire(import.meta.url)(path.join(folder, 'src', 'time-matcher.js'));

const CHOSEN = [
  '0 9 * * 1', '0 10 * * *', '0 2 * * *', '0 3 * * *', '* * * * *', '* * * * * *', '*/5 * * * * *', '30 */15 * * * *',
  '0 0 */2 * *', '0 0 1 */3 *', '5-30/10 * * * *', '1,2-10/3 * * * *', '0-10/5,30 * * * *', '*/61 * * * *', '10/10 * * * *',
  '0/5 * * * *', '5/10 * * * *', '*/0 * * * *', '* * * * 5-7', '* * * * 5-1', '* * * * fri-mon', '* * * * 7', '* * * * 7,7', '* * * * */7',
  '* * * * 0,7', '* * * * sun', '* * * * SATURDAY', '* * * jan-march *', '* * * Sep *', '0 0 31 2 *', '0 0 29 2 *', '0 0 13 * 5',
  '1.5 * * * *', '1#2 * * * *', '05 * * * *', '0x1 * * * *', '0x1/1 * * * *', '+5 * * * *', '-5 * * * *', '5* * * * *', '** * * * *',
  '*/1e3 * * * *', '*/0x1 * * * *', '*/Infinity * * * *', '*/.5 * * * *', '1--2 * * * *', '1-2- * * * *', '5-1-3 * * * *', '0-70/50 * * * *',
  '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 0 *', '* * * 13 *', '* * * * 8', '60 * * * * *', '? * * * *', '* * L * *',
  '* * ? * *', '@daily', '@hourly', '@reboot', 'TZ=UTC 0 9 * * *', 'CRON_TZ=Europe/Berlin 0 9 * * *', '', ' ', '*', '* * * *',
  '0 0 9 * * * 2026-2030', '0 0 9 * * * x', '0 0 9 * * * */x', '0 0 9 * * * x/5-5', '0 0 9 * * * 5/2 7/y', '  0   9  *  *  1  ', '0\t9 * * * *',
  '0 \t9 * * *', '\t0 9 * * *\n', '0 9 * * *\u00a0', '0\u200b 9 * * *', '\u0660 9 * * *', '0 9 * * \u017fun', '0 9 * * *\u0085', '0,,1 * * * *', ', * * * *',
];

let state = 20260512;
function random() { // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const between = (low, high) => low + Math.floor(random() * (high - low + 1));
const choice = list => list[between(0, list.length - 1)];

const LIMITS = [[0, 59], [0, 59], [0, 23], [1, 31], [1, 12], [0, 7]];
const MONTHS = ['jan', 'feb', 'March', 'APR', 'may', 'june', 'jul', 'August', 'sep', 'oct', 'november', 'Dec'];
const DAYS = ['sun', 'Monday', 'TUE', 'wed', 'thursday', 'fri', 'sat'];
const ODD = ['?', 'L', '1#2', '1.5', '+5', '-3', '0x1f', '0x', 'x', '', '**', '5*', '*5', '\t3', '1e1', '3-', '--', '$', '7,7', '7-7', '70'];
const STEPS = ['1', '2', '3', '5', '7', '10', '15', '20', '61', '0', '02', '1e3', '0x2', 'x', '_', '1_0', '-1', '5,3', '1.5', '1e', '2/3'];

function number(field) {
  const [low, high] = LIMITS[field], draw = random();
  if (field === 4 && draw < 0.3) return choice(MONTHS);
  if (field === 5 && draw < 0.3) return choice(DAYS);
  if (draw < 0.03) return String(choice([high + 1, low - 1, 99]));
  return (draw < 0.06 ? '0' : '') + between(low, high);
}
function item(field) {
  const draw = random();
  if (draw < 0.35) return '*';
  if (draw < 0.65) return number(field);
  return draw < 0.95 ? `${number(field)}-${number(field)}` : choice(ODD);
}
function written(field) {
  const items = Array.from({length: choice([1, 1, 1, 1, 2, 2, 3])}, () => item(field)).join(',');
  return random() < 0.3 ? `${items}/${choice(STEPS)}` : items;
}
function plain(field) {
  const [low, high] = LIMITS[field], any = () => between(low, high);
  return choice(['*', `${any()}`, `${any()},${any()},${any()}`, `${any()}-${any()}`, `*/${between(1, 6)}`]);
}
function expression() {
  const fields = choice([[1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]).map(random() < 0.5 ? plain : written);
  if (random() < 0.05) fields.push(choice(['2026', '*', '*/2', '*/x', 'x']));
  return fields.join(choice([' ', ' ', ' ', ' ', '  ', ' \t']));
}

function ranges(numbers) {
  const sorted = [...new Set(numbers.split(',').map(Number))].sort((a, b) => a - b), parts = [];
  for (const n of sorted) {
    const last = parts.at(-1);
    if (last && last[1] === n - 1) last[1] = n; else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(',');
}
function row(text) {
  try {
    return [text, new TimeMatcher(text, 'UTC').expressions.slice(0, 6).map(ranges)];
  } catch (error) {
    const named = / is a invalid expression for ([a-z ]+)$/.exec(error.message ?? '');
    return [text, null, named ? named[1] : ''];
  }
}

const ascii = text => text.replace(/[^\x20-\x7e]/g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
const texts = [...CHOSEN, ...Array.from({length: 700}, expression)];
process.stdout.write(`[\n${texts.map(text => ascii(JSON.stringify(row(text)))).join(',\n')}\n]\n`);
