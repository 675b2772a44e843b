# language: pt
Funcionalidade: Permissionamento local
  Para que um nó só se conecte a quem o operador conhece e só aceite transações de contas autorizadas,
  como operador de uma instituição que já usa as listas locais do Besu,
  quero as mesmas listas, os mesmos arquivos e os mesmos métodos neste nó.

  Cenário: um nó removido da lista é desconectado e volta quando é incluído de novo
    Dado uma rede de 4 instituições
    Quando a rede está no ar
    E o boot da instituição 1 passa a ter uma lista com os seus pares
    Então o boot da instituição 1 recupera todos os seus pares
    E um par fixo do boot da instituição 1 não pode ser removido da lista
    Quando o escritor da instituição 1 é removido da lista do boot
    Então o boot não tem mais conexão com o escritor da instituição 1
    E o arquivo do boot não contém mais o escritor da instituição 1
    Quando o escritor da instituição 1 é incluído na lista do boot
    Então o boot da instituição 1 recupera todos os seus pares

  Cenário: só contas da lista enviam transações pelo nó, e blocos alheios continuam válidos
    Dado uma rede de 4 instituições
    Quando a rede está no ar
    E o escritor da instituição 1 passa a ter uma lista de contas vazia
    Então o escritor da instituição 1 recusa a transação da conta de teste
    Quando o escritor da instituição 2 recebe uma transação
    Então a transação é finalizada com sucesso
    E todos os nós têm o mesmo recibo da transação
    Quando a conta de teste é incluída na lista do escritor da instituição 1
    Então o escritor da instituição 1 aceita a próxima transação da conta de teste
    E a transação é finalizada com sucesso

  Cenário: um arquivo com erro não muda a lista em vigor
    Dado uma rede de 1 instituições
    Quando a rede está no ar
    E o escritor da instituição 1 passa a ter uma lista de contas vazia
    E o arquivo de lista do escritor da instituição 1 passa a ter um erro
    Então a recarga no escritor da instituição 1 é recusada
    E o escritor da instituição 1 recusa a transação da conta de teste
    Quando o arquivo de lista do escritor da instituição 1 passa a ter a conta de teste
    E o processo do escritor da instituição 1 recebe SIGHUP
    Então o escritor da instituição 1 aceita a próxima transação da conta de teste
    E a transação é finalizada com sucesso
