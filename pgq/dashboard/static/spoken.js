// How numbers, durations and times are written: as the server writes them (pgq/dashboard/spoken.py).

export const NONE = "\u2013";

export function number(value) {
  return value === null || value === undefined ? NONE : Math.round(value).toLocaleString("en-US");
}

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : number(value);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${seconds.toFixed(0)} s`;
  const parts = [];
  let rest = Math.floor(seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const count = Math.floor(rest / length);
    rest %= length;
    if (count || parts.length) parts.push([count, unit]);
    if (parts.length === 2) break;
  }
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

export function ago(written) {
  if (!written) return NONE;
  const away = (Date.parse(written) - Date.now()) / 1000;
  if (Math.abs(away) < 1) return "now";
  return away > 0 ? `in ${duration(away)}` : `${duration(-away)} ago`;
}

export function clock(milliseconds) {
  return new Date(milliseconds).toISOString().slice(11, 19);
}

export function rateLimit(most, per) {
  return most === null ? NONE : `${number(most)} per ${duration(per)}`;
}

export const BY_UNIT = { rate: (value) => (value === null || value === undefined ? NONE : `${rate(value)}/s`), duration, count: number };
