import { lazy, Suspense } from "react";
import { Skeleton } from "../ErrorState";

/** An editor of code; its library is fetched when it is first shown. */
const Editor = lazy(() => import("./Editor"));

export type EditorProps = {
  /** What it begins with; later changes come from typing, or from a new `key`. */
  initial: string;
  /** Its accessible name. */
  label: string;
  language?: "json" | "plain";
  onChange?: (text: string) => void;
  isReadOnly?: boolean;
  isWrapped?: boolean;
};

export function CodeEditor(props: EditorProps) {
  return (
    <Suspense fallback={<Skeleton lines={5} />}>
      <Editor {...props} />
    </Suspense>
  );
}
