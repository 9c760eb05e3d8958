/* Rounds of MRS-IPO at K = 4, by hand: what a sweep is measured against.

   log pi' = alpha log pi + (1 - alpha) log ref + P mu/beta, mu = lam pi + (1 - lam) pi_0, ref and pi_0 uniform, one P for
   all runs; with every round Welford's update of the variance of pi, at the end its mean and the entropy. */
#include <math.h>

#define K 4
#define W 64 /* runs side by side */

void run(long n, long rounds, const double *P, const double *start, const double *alpha, const double *lam,
         const double *beta, double *cycle, double *entropy) {
#pragma omp parallel for schedule(static)
  for (long b = 0; b < n; b += W) {
    double z[K][W], p[K][W], mean[K][W], var[K][W], a[W], l[W], scale[W];
    for (int w = 0; w < W; w++) {
      double middle = 0, sum = 0;
      a[w] = alpha[b + w];
      l[w] = lam[b + w];
      scale[w] = 1 / beta[b + w];
      for (int k = 0; k < K; k++) middle += start[k] / K;
      for (int k = 0; k < K; k++) sum += p[k][w] = exp(z[k][w] = start[k] - middle);
      for (int k = 0; k < K; k++) {
        mean[k][w] = p[k][w] /= sum;
        var[k][w] = 0;
      }
    }
    for (long t = 1; t <= rounds; t++) {
      double gain = 1.0 / (t + 1);
#pragma omp simd
      for (int w = 0; w < W; w++) {
        double f[K], middle = 0, top = -1e300, sum = 0;
        for (int k = 0; k < K; k++) {
          double won = 0;
          for (int j = 0; j < K; j++) won += P[K * k + j] * (l[w] * p[j][w] + (1 - l[w]) / K);
          middle += f[k] = a[w] * z[k][w] + won * scale[w];
        }
        for (int k = 0; k < K; k++) top = fmax(top, z[k][w] = f[k] - middle / K);
        for (int k = 0; k < K; k++) sum += f[k] = exp(z[k][w] - top);
        sum = 1 / sum;
        for (int k = 0; k < K; k++) {
          double q = f[k] * sum, off = q - mean[k][w], step = gain * off;
          p[k][w] = q;
          mean[k][w] += step;
          var[k][w] = (1 - gain) * (var[k][w] + off * step);
        }
      }
    }
    for (int w = 0; w < W; w++) {
      double h = 0, c = 0;
      for (int k = 0; k < K; k++) {
        h -= p[k][w] > 0 ? p[k][w] * log(p[k][w]) : 0;
        c += var[k][w] / K;
      }
      cycle[b + w] = c;
      entropy[b + w] = h;
    }
  }
}
