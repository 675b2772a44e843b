# language: pt
Funcionalidade: Arquitetura de rede
  Para que nenhum validador precise de endereço público nem de liberação de porta em outra instituição,
  como operador de uma instituição da rede,
  quero que o meu validador só se conecte aos boots da minha própria instituição e que a rede produza blocos assim.

  Cenário: validadores sem conexão entre si produzem blocos
    Dado uma rede de 4 instituições
    Quando a rede está no ar
    Então a rede chega a pelo menos 6 blocos
    E todos os nós concordam sobre o bloco 5
    E nenhum validador tem conexão com outro validador
    E cada validador só tem conexão com boots da sua própria instituição

  Cenário: um validador não abre nenhuma porta p2p
    Dado uma rede de 4 instituições
    Quando a rede está no ar
    Então nenhum validador anuncia endereço p2p
    E os únicos sockets que um validador abre para escuta são os de consulta e de métricas
    E todo boot escuta em um endereço p2p

  Cenário: um boot é derrubado e o seu reserva assume
    Dado uma rede de 4 instituições com 2 boots em cada uma
    Quando a rede está no ar
    E um boot da instituição 1 é derrubado
    Então a rede produz mais 8 blocos
    E o validador da instituição 1 acompanha a rede
    E o validador da instituição 1 propõe um bloco depois da queda

  Cenário: uma transação de um escritor é finalizada por todos
    Dado uma rede de 4 instituições
    Quando a rede está no ar
    E o escritor da instituição 2 recebe uma transação
    Então a transação é finalizada com sucesso
    E todos os nós têm o mesmo recibo da transação
