import type { SchedulerPolicy } from '../../../kernel/contract/index.ts';

const yes = { fits: true } as const;
const no = { fits: false, reasons: ['Insufficient resources'], resolvable: false } as const;

/** The baseline: room is all that counts, and every node is as good as the next. What is left is the loop's own cost. */
export const firstFit: SchedulerPolicy & AsyncDisposable = {
  filter: ({ requests }, { allocatable, requested }) =>
    Object.entries(requests).every(([name, amount]) => (requested[name] ?? 0) + amount <= (allocatable[name] ?? 0))
      ? yes
      : no,
  score: () => 0,
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
