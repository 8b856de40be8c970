"use client";
// A value of the last render, for functions that stay the same across renders.
import { useEffect, useRef } from "react";
import type { RefObject } from "react";

/** Return a reference to the value of the last render. */
export function useLatest<T>(value: T): RefObject<T> {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
