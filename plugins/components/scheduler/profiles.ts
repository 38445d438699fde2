/** Which policy serves which spec.schedulerName. */
import { PintleError, type SchedulerPolicy } from '../../../kernel/contract/index.ts';

/**
 * Every policy serves its own name. `default-scheduler`, which the API fills in for pods that name none, is served by the
 * policy that is configured first, unless the config says otherwise.
 */
export function choosePolicies(
  configured: Readonly<Record<string, string>>,
  policies: ReadonlyMap<string, SchedulerPolicy>,
): ReadonlyMap<string, SchedulerPolicy> {
  const profiles = new Map<string, SchedulerPolicy>(policies);
  const [first] = policies.values();
  if (first !== undefined) profiles.set('default-scheduler', first);
  for (const [schedulerName, policyName] of Object.entries(configured)) {
    const policy = policies.get(policyName);
    if (policy === undefined)
      throw new PintleError(
        'CONFIG_INVALID',
        `component scheduler: profile "${schedulerName}" names the policy "${policyName}", which is not configured; ` +
          `expected one of ${[...policies.keys()].join(', ') || 'none'}. Add it to plugins.use.scheduler.`,
      );
    profiles.set(schedulerName, policy);
  }
  return profiles;
}
