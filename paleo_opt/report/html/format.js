// Figures for readers, in the words of the terminal's answers.

function significant(value, digits = 3) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  const text = value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

function scaled(value, steps) {
  for (const [size, unit] of steps) if (Math.abs(value) >= size * 0.9995) return `${significant(value / size)} ${unit}`;
  const [size, unit] = steps[steps.length - 1];
  return `${significant(value / size)} ${unit}`;
}

const count = (number) => Math.round(number).toLocaleString("en-US");
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

function time(seconds) {
  if (seconds === null) return "–";
  if (seconds < 99.5) return scaled(seconds, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]);
  if (seconds < 599.5) {
    const minutes = Math.floor(Math.round(seconds) / 60), rest = Math.round(seconds) % 60;
    return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const whole = Math.round(seconds / 3600), days = Math.floor(whole / 24);
  return whole % 24 && days < 100 ? `${count(days)} d ${whole % 24} h` : `${count(days)} d`;
}

function money(dollars) {
  if (dollars === null) return "–";
  if (dollars < 99.995 && dollars !== Math.trunc(dollars)) return `$${dollars.toFixed(2)}`;
  return `$${count(dollars)}`;
}

const energy = (kwh) => kwh === null ? "–" : scaled(kwh * 1000, [[1e6, "MWh"], [1e3, "kWh"], [1, "Wh"]]);
const memory = (megabytes) => scaled(megabytes, [[1e6, "TB"], [1e3, "GB"], [1, "MB"]]);
const percent = (part) => `${Math.abs(part) < 0.0995 ? significant(100 * part, 2) : Math.round(100 * part)}%`;

// A figure over another: "+59%", "−20%", "17 times".
function against(value, other) {
  if (value === null || other === null || !other) return "–";
  const ratio = value / other;
  if (Math.abs(ratio - 1) < 5e-5) return "the same";
  if (ratio >= 9.95) return `${significant(ratio)} times`;
  if (ratio <= 1 / 9.95) return `a ${ordinal(1 / ratio)}`;
  return `${ratio > 1 ? "+" : "−"}${percent(Math.abs(ratio - 1))}`;
}
const ordinal = (number) => {
  const whole = Math.round(number), last = whole % 100;
  const ending = last > 10 && last < 14 ? "th" : ["th", "st", "nd", "rd"][whole % 10] || "th";
  return `${count(whole)}${ending}`;
};

// An element with text and attributes: no string ever becomes markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
