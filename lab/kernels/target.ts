/**
 * Where a command runs: on this machine's kernel, or on a second one that has what this one lacks. The second kernel sees
 * this machine's files, and nothing that is done there changes them; it is gone when the command has ended.
 */
export const kernelTargets = ['host', 'uml', 'vm'] as const;
export type KernelTarget = (typeof kernelTargets)[number];

export interface GuestCommand {
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Ends the guest and rejects. */
  readonly signal?: AbortSignal | undefined;
  onOutput(stream: 'stdout' | 'stderr', chunk: Buffer): void;
}

export interface GuestKernel {
  /** For people: which kernel, by what means. */
  readonly description: string;
  /** Resolves to the command's exit code. Rejects when the guest did not get that far, with the end of what it said. */
  run(command: GuestCommand): Promise<number>;
}

/** Undefined: it can be used. */
export type KernelProblem = { readonly reason: string; readonly fix: string } | undefined;
