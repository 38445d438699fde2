export const trackingFinalizer = 'batch.kubernetes.io/job-tracking';
/** Annotation, and since Kubernetes 1.28 label, of a pod of an Indexed Job. */
export const indexKey = 'batch.kubernetes.io/job-completion-index';
/** How often pods of this index failed before this one. */
export const failureCountKey = 'batch.kubernetes.io/job-index-failure-count';
export const ignoredFailureCountKey = 'batch.kubernetes.io/job-index-ignored-failure-count';
export const ownController = 'kubernetes.io/job-controller';
