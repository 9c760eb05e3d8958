/* Rounds of MRS-IPO and MRS-DPO at K = 4, by hand: what a sweep is measured against.

   log pi' = alpha log pi + (1 - alpha) log ref + f/beta, mu = lam pi + (1 - lam) pi_0, ref and pi_0 uniform, one P for all
   runs, f = P mu (IPO) or the root of Σ_j mu_j sigma(f_i - f_j) = (P mu)_i (DPO); with every round Welford's update of the
   variance of pi, at the end its mean and the entropy.

   Eight runs fill a vector of GCC and Clang, one register where the machine has AVX-512; two vectors are advanced together,
   so that one computes while the other waits. States stay in registers and in the nearest cache for all rounds. */
#include <cmath>

#define K 4
#define U 2  /* vectors advanced together */
#define W 16 /* runs in them */
#define EACH for (int v = 0; v < U; v++)

typedef double V __attribute__((vector_size(64)));
typedef long I __attribute__((vector_size(64)));

/* e^x to rounding for -708 <= x <= 708: x = n log 2 + r, a polynomial in r, n added to the exponent. */
static inline V expv(V x) {
  const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number, in the last bits */
  x = x < -708.0 ? V{} - 708.0 : x;
  V shifted = x * 1.4426950408889634 + magic, n = shifted - magic;
  V r = x - n * 0.693147180369123816490, p;
  r -= n * 1.90821492927058770002e-10;
  p = r * (1 / 479001600.0) + 1 / 39916800.0;
  p = p * r + 1 / 3628800.0;
  p = p * r + 1 / 362880.0;
  p = p * r + 1 / 40320.0;
  p = p * r + 1 / 5040.0;
  p = p * r + 1 / 720.0;
  p = p * r + 1 / 120.0;
  p = p * r + 1 / 24.0;
  p = p * r + 1 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return (V)((I)p + ((I)shifted << 52));
}

static inline V maxv(V a, V b) { return a > b ? a : b; }
static inline V minv(V a, V b) { return a < b ? a : b; }

typedef struct {
  V z[K][U], p[K][U], mean[K][U], var[K][U], f[K][U], a[U], l[U], scale[U];
} State;

static inline void begin(State *s, const double *start, const double *alpha, const double *lam, const double *beta) {
  double middle = 0, sum = 0;
  for (int k = 0; k < K; k++) middle += start[k] / K;
  for (int k = 0; k < K; k++) sum += std::exp(start[k] - middle);
  EACH {
    for (int w = 0; w < 8; w++) {
      s->a[v][w] = alpha[8 * v + w];
      s->l[v][w] = lam[8 * v + w];
      s->scale[v][w] = 1 / beta[8 * v + w];
    }
    for (int k = 0; k < K; k++) {
      s->z[k][v] = V{} + (start[k] - middle);
      s->mean[k][v] = s->p[k][v] = V{} + std::exp(start[k] - middle) / sum;
      s->var[k][v] = s->f[k][v] = V{};
    }
  }
}

static inline void mix(const State *s, V mu[K][U]) {
  EACH for (int k = 0; k < K; k++) mu[k][v] = s->l[v] * s->p[k][v] + (1 - s->l[v]) * (1.0 / K);
}

/* The next policy from f/beta, and Welford's update. */
static inline void finish(State *s, V f[K][U], double gain) {
  V e[K][U], sum[U], top[U], middle[U];
  EACH {
    middle[v] = V{};
    for (int k = 0; k < K; k++) {
      s->z[k][v] = s->a[v] * s->z[k][v] + f[k][v] * s->scale[v];
      middle[v] += s->z[k][v];
    }
    for (int k = 0; k < K; k++) s->z[k][v] -= middle[v] * (1.0 / K);
    top[v] = maxv(maxv(s->z[0][v], s->z[1][v]), maxv(s->z[2][v], s->z[3][v]));
  }
  for (int k = 0; k < K; k++) EACH e[k][v] = expv(s->z[k][v] - top[v]);
  EACH sum[v] = 1.0 / ((e[0][v] + e[1][v]) + (e[2][v] + e[3][v]));
  for (int k = 0; k < K; k++) EACH {
      V q = e[k][v] * sum[v], off = q - s->mean[k][v], step = gain * off;
      s->p[k][v] = q;
      s->mean[k][v] += step;
      s->var[k][v] = (1 - gain) * (s->var[k][v] + off * step);
    }
}

static inline void end(const State *s, double *cycle, double *entropy) {
  EACH for (int w = 0; w < 8; w++) {
    double h = 0, c = 0;
    for (int k = 0; k < K; k++) {
      double q = s->p[k][v][w];
      h -= q > 0 ? q * std::log(q) : 0;
      c += s->var[k][v][w] / K;
    }
    cycle[8 * v + w] = c;
    entropy[8 * v + w] = h;
  }
}

/* Newton's steps on Σ_j mu_j (P_ij - sigma(f_i - f_j)) = 0 with f_3 = 0, from the last round's f; row 3 is the sum of the
   others. The last step is the one whose square is below eps in all runs. */
static inline void newton(State *s, V mu[K][U], const double *P) {
  for (int count = 0; count < 50; count++) {
    V u[K][U], c[K][K][U], rhs[K][U], x[K][U];
    for (int k = 0; k < K - 1; k++) EACH {
        u[k][v] = expv(s->f[k][v]);
        rhs[k][v] = V{};
      }
    EACH u[K - 1][v] = V{} + 1.0;
    for (int i = 0; i < K - 1; i++)
      for (int j = i + 1; j < K; j++) EACH {
          V share = 1.0 / (u[i][v] + u[j][v]), win = u[i][v] * share, curve = win * (u[j][v] * share);
          V left = P[K * i + j] - win;
          c[i][j][v] = mu[j][v] * curve;
          rhs[i][v] += mu[j][v] * left;
          if (j < K - 1) {
            c[j][i][v] = mu[i][v] * curve;
            rhs[j][v] -= mu[i][v] * left;
          }
        }
    V most[U], least[U], inverse[K][U];
    EACH {
      inverse[0][v] = 1.0 / (c[0][1][v] + c[0][2][v] + c[0][3][v]);
      V one = c[1][0][v] * inverse[0][v], two = c[2][0][v] * inverse[0][v];
      rhs[1][v] += one * rhs[0][v];
      c[1][2][v] += one * c[0][2][v];
      c[1][3][v] += one * c[0][3][v];
      rhs[2][v] += two * rhs[0][v];
      c[2][1][v] += two * c[0][1][v];
      c[2][3][v] += two * c[0][3][v];
      inverse[1][v] = 1.0 / (c[1][2][v] + c[1][3][v]);
      two = c[2][1][v] * inverse[1][v];
      rhs[2][v] += two * rhs[1][v];
      c[2][3][v] += two * c[1][3][v];
      x[2][v] = rhs[2][v] / c[2][3][v];
      x[1][v] = (rhs[1][v] + c[1][2][v] * x[2][v]) * inverse[1][v];
      x[0][v] = (rhs[0][v] + c[0][1][v] * x[1][v] + c[0][2][v] * x[2][v]) * inverse[0][v];
      most[v] = maxv(maxv(x[0][v], x[1][v]), maxv(x[2][v], V{}));
      least[v] = minv(minv(x[0][v], x[1][v]), minv(x[2][v], V{}));
      most[v] -= least[v];
      V limit = most[v] > 2.0 ? 2.0 / most[v] : V{} + 1.0;
      for (int k = 0; k < K - 1; k++) s->f[k][v] += limit * x[k][v];
    }
    double span = 0;
    EACH for (int w = 0; w < 8; w++) span = std::fmax(span, most[v][w]);
    if (span * span < 2.2e-16) return;
  }
}

/* All runs, with f of a round from ``reward``. */
template <class Reward>
static void run(long n, long rounds, const double *start, const double *alpha, const double *lam, const double *beta,
                double *cycle, double *entropy, Reward reward) {
#pragma omp parallel for schedule(static)
  for (long b = 0; b < n; b += W) {
    State s;
    begin(&s, start, alpha + b, lam + b, beta + b);
    for (long t = 1; t <= rounds; t++) {
      V mu[K][U];
      mix(&s, mu);
      reward(&s, mu);
      finish(&s, s.f, 1.0 / (t + 1));
    }
    end(&s, cycle + b, entropy + b);
  }
}

extern "C" void ipo(long n, long rounds, const double *P, const double *start, const double *alpha, const double *lam,
                    const double *beta, double *cycle, double *entropy) {
  run(n, rounds, start, alpha, lam, beta, cycle, entropy, [P](State *s, V mu[K][U]) {
    for (int k = 0; k < K; k++) EACH {
        s->f[k][v] = P[K * k] * mu[0][v];
        for (int j = 1; j < K; j++) s->f[k][v] += P[K * k + j] * mu[j][v];
      }
  });
}

extern "C" void dpo(long n, long rounds, const double *P, const double *start, const double *alpha, const double *lam,
                    const double *beta, double *cycle, double *entropy) {
  run(n, rounds, start, alpha, lam, beta, cycle, entropy, [P](State *s, V mu[K][U]) { newton(s, mu, P); });
}
