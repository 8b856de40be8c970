import type { ReactNode } from "react";

export const metadata = { title: "Integrations" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" style={{ colorScheme: "light dark", fontFamily: "system-ui" }}>
      <body>{children}</body>
    </html>
  );
}
