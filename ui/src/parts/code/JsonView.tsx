import { Download, WrapText } from "lucide-react";
import { useMemo, useState } from "react";
import { Button, IconButton } from "../Button";
import { CopyButton } from "../CopyButton";
import { Note } from "../ErrorState";
import { CodeEditor } from "./CodeEditor";
import s from "./JsonView.module.css";
import { download, pretty, SHOWN_CHARS_MAX } from "./json";

type Props = {
  /** JSON text, as it came. */
  text: string;
  /** Its accessible name, and that of the downloaded file. */
  label: string;
};

/** JSON to read: indented, coloured, folded, to copy or download. Of a huge one only the beginning is laid out at first. */
export function JsonView({ text, label }: Props) {
  const [isWhole, setWhole] = useState(false);
  const [isWrapped, setWrapped] = useState(true);
  const laidOut = useMemo(() => pretty(text), [text]);
  const isCut = !isWhole && laidOut.length > SHOWN_CHARS_MAX;
  const lines = laidOut.split("\n", 40).length;
  return (
    <section className={s.view} aria-label={label}>
      <div className={s.tools}>
        <IconButton label="Wrap long lines" aria-pressed={isWrapped} onClick={() => setWrapped(!isWrapped)}>
          <WrapText size={14} aria-hidden />
        </IconButton>
        <CopyButton text={() => laidOut} />
        <IconButton label="Download" onClick={() => download(`${label}.json`, text)}>
          <Download size={14} aria-hidden />
        </IconButton>
      </div>
      <div className={s.code} data-size={lines > 30 ? "long" : "short"}>
        <CodeEditor
          key={`${isWhole}${isWrapped}${text.length}${text.slice(0, 200)}`}
          initial={isCut ? laidOut.slice(0, SHOWN_CHARS_MAX) : laidOut}
          label={label}
          isReadOnly
          isWrapped={isWrapped}
        />
      </div>
      {isCut && (
        <Note kind="truncated">
          {(laidOut.length / 1_000_000).toFixed(1)} million characters in all.{" "}
          <Button look="ghost" onClick={() => setWhole(true)}>
            Show all
          </Button>
        </Note>
      )}
    </section>
  );
}
