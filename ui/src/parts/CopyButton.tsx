import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { IconButton } from "./Button";
import { toast } from "./toast";

/** Copy a text; where the browser forbids it (no HTTPS), say so. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    toast("It could not be copied", { detail: "The browser allows it only over HTTPS or localhost.", isFailure: true });
    return false;
  }
}

/** A button that copies what `text` returns. */
export function CopyButton({ text, label = "Copy" }: { text: () => string; label?: string }) {
  const [isDone, setDone] = useState(false);
  const press = async () => {
    if (!(await copy(text()))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return (
    <IconButton label={isDone ? "Copied" : label} onClick={press}>
      {isDone ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />}
    </IconButton>
  );
}
