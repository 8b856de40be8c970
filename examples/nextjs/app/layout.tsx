import type { ReactNode } from "react";

export const metadata = { title: "Integrations", icons: "data:," };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" style={{ colorScheme: "light dark", fontFamily: "system-ui" }}>
      <body>{children}</body>
    </html>
  );
}
