// An event as code that sends it again, with an id and a time of its own.
import type { EventView, Json } from "~/api/api.gen";
import type { EventToSend } from "~/pages/send/payload";

export function asSent({ name, data, user, v }: Pick<EventView, "name" | "data" | "user" | "v">): EventToSend {
  return {
    name,
    data: (data ?? {}) as EventToSend["data"],
    ...(isEmpty(user) ? {} : { user: user as EventToSend["user"] }),
    ...(v ? { v } : {}),
  };
}

export function isEmpty(value: Json): boolean {
  return value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
}
