/** What a log line says besides its message, its traceback apart: `user=42 plan=free`. */
export function fieldsText(fields: unknown): string {
  if (typeof fields !== "object" || fields === null) return "";
  return Object.entries(fields)
    .filter(([name, value]) => !isTraceback(name, value))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}

/** The traceback that a log line has. */
export function tracebackOf(fields: unknown): string | undefined {
  if (typeof fields !== "object" || fields === null) return undefined;
  const found = Object.entries(fields).find(([name, value]) => isTraceback(name, value));
  return found?.[1];
}

function isTraceback(name: string, value: unknown): value is string {
  return name === "exception" && typeof value === "string" && value.includes("\n");
}
