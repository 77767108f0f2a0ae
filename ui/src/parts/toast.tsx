import { Toast } from "@base-ui/react/toast";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "./Button";
import s from "./toast.module.css";

const manager = Toast.createToastManager();

/** Say what an action did, at the edge of the page, for some seconds. A failure stays until it is closed. */
export function toast(title: string, options: { detail?: ReactNode; isFailure?: boolean } = {}) {
  const { detail, isFailure = false } = options;
  manager.add({
    title,
    description: detail,
    type: isFailure ? "failure" : "success",
    priority: isFailure ? "high" : "low",
    timeout: isFailure ? 0 : 4_000,
  });
}

/** Where toasts are shown. */
export function Toasts() {
  return (
    <Toast.Provider toastManager={manager}>
      <Toast.Portal>
        <Toast.Viewport className={s.place}>
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  const { toasts, close } = Toast.useToastManager();
  return toasts.map((one) => (
    <Toast.Root key={one.id} toast={one} className={s.toast}>
      <div>
        <Toast.Title className={s.title} />
        <Toast.Description className={s.detail} />
      </div>
      <IconButton label="Close" onClick={() => close(one.id)}>
        <X size={14} aria-hidden />
      </IconButton>
    </Toast.Root>
  ));
}
