/**
 * What every conformance kit shares. A kit takes the test function as an argument, so that it is tied to no runner: the
 * types here are the subset of AVA's `test` and `t` that the kits use, and other runners need only a few lines of glue.
 */
export interface KitAssertions {
  pass(message?: string): unknown;
  fail(message?: string): unknown;
  is(actual: unknown, expected: unknown, message?: string): unknown;
  not(actual: unknown, expected: unknown, message?: string): unknown;
  deepEqual(actual: unknown, expected: unknown, message?: string): unknown;
  true(actual: unknown, message?: string): unknown;
  false(actual: unknown, message?: string): unknown;
  /** Resolves to the error. `code` is the `code` property that it must have. */
  throwsAsync(
    thrower: PromiseLike<unknown> | (() => PromiseLike<unknown>),
    expectation?: { readonly code?: string; readonly message?: string | RegExp },
    message?: string,
  ): Promise<unknown>;
  /** Runs after the test, last registered first, whatever came of it. */
  teardown(undo: () => unknown): void;
  log(...values: unknown[]): void;
}

export type KitRun = (t: KitAssertions) => void | Promise<void>;

export interface KitTest {
  (title: string, run: KitRun): void;
  /** Registers a test that does not run. */
  readonly skip: (title: string, run: KitRun) => void;
}

export interface KitCase<Subject, Capability extends string = string> {
  /** What holds, as a sentence: "a commit whose condition fails changes nothing". Unique in its kit. */
  readonly title: string;
  /** Only run when the implementation declares these. */
  readonly needs?: readonly Capability[];
  readonly run: (t: KitAssertions, subject: Subject) => Promise<void>;
}

/**
 * Registers every case as "<name>: <title>". A case whose capability is not declared does not apply and is left out: a skip
 * says that something could not be shown here.
 */
export function registerCases<Subject, Capability extends string>(
  test: KitTest,
  kit: {
    readonly name: string;
    readonly capabilities: readonly Capability[];
    readonly cases: readonly KitCase<Subject, Capability>[];
    /** Called in each case: the subject of a case is its own. */
    readonly subject: (t: KitAssertions) => Subject | Promise<Subject>;
  },
): void {
  for (const { title, needs = [], run } of kit.cases) {
    if (!needs.every((capability) => kit.capabilities.includes(capability))) continue;
    test(`${kit.name}: ${title}`, async (t) => run(t, await kit.subject(t)));
  }
}

/**
 * Registers a test that this host cannot run. The reason stands in the title; with REQUIRE_ALL=1 in the environment it
 * fails instead, so that a lane that must run everything notices.
 */
export function skipCase(test: KitTest, title: string, reason: string): void {
  if (process.env['REQUIRE_ALL'] === '1') test(title, (t) => void t.fail(`cannot run here: ${reason}`));
  else test.skip(`${title} (cannot run here: ${reason})`, () => undefined);
}
