/** An emulated processor is up to so many times slower than a real one. */
export const slowdown = 7;
