import { Command } from 'commander';
import { optimizeAsUsual } from '../optimization.ts';
import type { Cli } from '../terminal.ts';

/** Part of `bench`, not for people: carries a plan out inside a laboratory's namespaces, until standard input closes. */
export function benchRunCommand(cli: Cli): Command {
  return new Command('bench-run').argument('<plan>').action(
    cli.action(async (text: string) => {
      optimizeAsUsual();
      const [{ runPlan }, { Catalogue }, { builtIns }] = await Promise.all([
        import('../../bench/index.ts'),
        import('../../kernel/registry/catalogue.ts'),
        import('../built-ins.ts'),
      ]);
      const plan = JSON.parse(text) as Parameters<typeof runPlan>[0];
      const stop = new AbortController();
      const cut = (): void => stop.abort(new Error('the run was stopped'));
      // A machine of the benchmark's own has no standard input: it is ended as a whole.
      const isMachine = plan.target === 'vm' || plan.target === 'uml';
      if (!isMachine) process.stdin.on('end', cut).on('close', cut).on('error', cut).resume();
      const catalogue = await Catalogue.open(builtIns, plan.modules, plan.directory);
      await runPlan(plan, catalogue, (event) => void process.stdout.write(`${JSON.stringify(event)}\n`), stop.signal);
      process.stdin.destroy();
    }),
  );
}

/** Part of `bench`, not for people: a process that runs plugins as its parent tells it. */
export function benchPluginsCommand(cli: Cli): Command {
  return new Command('bench-plugins').argument('<source>').action(
    cli.action(async (text: string) => {
      optimizeAsUsual();
      const [{ servePlugins }, { jobs }, { Catalogue }, { builtIns }] = await Promise.all([
        import('../../bench/bed/plugin-process.ts'),
        import('../../bench/suites/jobs.ts'),
        import('../../kernel/registry/catalogue.ts'),
        import('../built-ins.ts'),
      ]);
      const { modules, directory } = JSON.parse(text) as {
        readonly modules: readonly string[];
        readonly directory: string;
      };
      servePlugins(await Catalogue.open(builtIns, modules, directory), jobs);
    }),
  );
}
