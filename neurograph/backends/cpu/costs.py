from functools import cache
class M:
    least=.5
    def crossover(self,S,T): return .55
@cache
def model(dtype): return M()
