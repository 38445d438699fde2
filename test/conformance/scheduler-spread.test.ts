import test from 'ava';
import type { PluginContext } from '../../kernel/contract/index.ts';
import { schedulerConformance } from '../../kernel/conformance/scheduler.ts';
import plugin from '../../plugins/schedulers/spread/index.ts';

schedulerConformance(test, {
  name: 'spread',
  open: async () => {
    const config = await plugin.config['~standard'].validate({});
    if (config.issues !== undefined) throw new Error('The default config is refused.');
    const context = { config: config.value } as PluginContext<typeof config.value, never>;
    return plugin.start(context, new AbortController().signal);
  },
});
