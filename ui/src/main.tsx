import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { onUnauthorised, queryClient } from "./api/query";
import { router } from "./router";
import "./theme.css";
import "./base.css";

onUnauthorised(() => {
  const { pathname, href } = router.state.location;
  if (pathname !== "/login") router.navigate({ to: "/login", search: { back: href } });
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
