// Points in time as the reader's calendar and clock have them: always with 24 hours, in one form on all pages.

const EXACT = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** All of it, with the zone: `Nov 29, 2026, 10:54:51 GMT+1`. */
export function exact(time: string | number): string {
  return EXACT.format(new Date(time));
}

/** The time of day: `10:54:51`. */
export function clockOf(time: string | number): string {
  return CLOCK.format(new Date(time));
}

/** The day, if it isn't today, and the time of day: `10:54:51`, or `Nov 28, 2026, 10:54:51`. */
export function dayAndClock(time: string | number): string {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

/** The day and a comma, if it isn't today; to stand before a time of day. */
export function dayBefore(time: string): string {
  const date = new Date(time);
  return date.toDateString() === new Date().toDateString() ? "" : `${DAY.format(date)}, `;
}
