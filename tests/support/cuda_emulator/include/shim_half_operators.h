// The arithmetic of a 16-bit type SHIM_TYPE and its pair SHIM_PAIR; included once for each, so without an include
// guard.

inline SHIM_TYPE operator+(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) + float(b); }
inline SHIM_TYPE operator-(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) - float(b); }
inline SHIM_TYPE operator*(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) * float(b); }
inline SHIM_TYPE operator/(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) / float(b); }
inline SHIM_TYPE operator-(const SHIM_TYPE& a) { return -float(a); }
inline SHIM_TYPE& operator+=(SHIM_TYPE& a, const SHIM_TYPE& b) { return a = a + b; }
inline SHIM_TYPE& operator-=(SHIM_TYPE& a, const SHIM_TYPE& b) { return a = a - b; }
inline SHIM_TYPE& operator*=(SHIM_TYPE& a, const SHIM_TYPE& b) { return a = a * b; }
inline SHIM_TYPE& operator/=(SHIM_TYPE& a, const SHIM_TYPE& b) { return a = a / b; }
inline bool operator==(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) == float(b); }
inline bool operator!=(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) != float(b); }
inline bool operator<(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) < float(b); }
inline bool operator<=(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) <= float(b); }
inline bool operator>(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) > float(b); }
inline bool operator>=(const SHIM_TYPE& a, const SHIM_TYPE& b) { return float(a) >= float(b); }

inline SHIM_TYPE __hadd(SHIM_TYPE a, SHIM_TYPE b) { return a + b; }
inline SHIM_TYPE __hsub(SHIM_TYPE a, SHIM_TYPE b) { return a - b; }
inline SHIM_TYPE __hmul(SHIM_TYPE a, SHIM_TYPE b) { return a * b; }
inline SHIM_TYPE __hdiv(SHIM_TYPE a, SHIM_TYPE b) { return a / b; }
inline SHIM_TYPE __hneg(SHIM_TYPE a) { return -a; }
inline SHIM_TYPE __habs(SHIM_TYPE a) { return fabsf(float(a)); }
// Fused as on the device, then rounded again to 16 bits.
inline SHIM_TYPE __hfma(SHIM_TYPE a, SHIM_TYPE b, SHIM_TYPE c) { return fmaf(float(a), float(b), float(c)); }
inline SHIM_TYPE __hmax(SHIM_TYPE a, SHIM_TYPE b) { return fmaxf(float(a), float(b)); }
inline SHIM_TYPE __hmin(SHIM_TYPE a, SHIM_TYPE b) { return fminf(float(a), float(b)); }
inline bool __hisnan(SHIM_TYPE a) { return float(a) != float(a); }

inline SHIM_PAIR __hadd2(SHIM_PAIR a, SHIM_PAIR b) { return {a.x + b.x, a.y + b.y}; }
inline SHIM_PAIR __hsub2(SHIM_PAIR a, SHIM_PAIR b) { return {a.x - b.x, a.y - b.y}; }
inline SHIM_PAIR __hmul2(SHIM_PAIR a, SHIM_PAIR b) { return {a.x * b.x, a.y * b.y}; }
inline SHIM_PAIR __hfma2(SHIM_PAIR a, SHIM_PAIR b, SHIM_PAIR c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}

inline SHIM_TYPE __shfl_sync(unsigned mask, SHIM_TYPE value, int source, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::index, mask, value, unsigned(source), width);
}
inline SHIM_TYPE __shfl_xor_sync(unsigned mask, SHIM_TYPE value, int lanes, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::exclusive, mask, value, unsigned(lanes), width);
}
inline SHIM_TYPE __shfl_up_sync(unsigned mask, SHIM_TYPE value, unsigned delta, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::up, mask, value, delta, width);
}
inline SHIM_TYPE __shfl_down_sync(unsigned mask, SHIM_TYPE value, unsigned delta, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::down, mask, value, delta, width);
}
