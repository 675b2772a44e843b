# language: pt
Funcionalidade: Governança pela linha de comando
  Para decidir quem participa da rede sem montar transações à mão,
  como administrador global de uma organização,
  quero propor, simular, votar, vetar e executar com o mesmo programa, e saber de cada permissão quem a deu.

  Cenário: uma proposta é vetada por um patrono, outra é executada, e a explicação diz quem aprovou
    Dado uma rede de 1 instituições
    Quando a rede está no ar
    E os contratos de permissionamento estão implantados
    E a organização 1 propõe que decisões sobre organizações possam ser vetadas por 3 blocos
    E as organizações 1, 2 votam a favor da proposta 1
    E a organização 1 executa a proposta 1
    Quando a organização 1 propõe a entrada da organização "Prodemge"
    Então a proposta 2 mostra a chamada "organizations.addOrganization" e diz que faltam 2 aprovações
    E a simulação da proposta 2 mostra a organização "Prodemge"
    Quando a organização 2 veta a proposta 2 com o motivo "falta o termo de adesão"
    Então a proposta 2 está "vetoed" e mostra o motivo "falta o termo de adesão"
    E a organização 1 não consegue executar a proposta 2 porque "rejected"
    Quando a organização 1 propõe uma conta de usuário para a organização "Serpro"
    E as organizações 1, 2 votam a favor da proposta 3
    Então a organização 1 não consegue votar de novo na proposta 3
    Quando a organização 3 executa a proposta 3
    Então a proposta 3 está "executed" e mostra o motivo ""
    E a conta de usuário está permitida, por decisão da proposta 3, aprovada por "BNDES (1), TCU (2)"
    E o histórico da proposta 3 tem os eventos "ProposalCreated, OrganizationVoted, ProposalApproved, ProposalExecuted"

  Cenário: o administrador de uma organização cuida das suas contas e dos seus nós, e de mais nada
    Dado uma rede de 1 instituições
    Quando a rede está no ar
    E os contratos de permissionamento estão implantados
    E a organização 3 cadastra o nó do validador com prova de posse
    E a organização 3 cadastra o nó do boot
    Então a conexão entre o validador e o boot está permitida
    E a organização 1 não consegue suspender o nó do validador porque "its own organization only"
    E a suspensão do nó do boot pela organização 3, só ensaiada, mostra a conexão cortada e não envia nada
    E uma proposta da organização 1 que remove o nó do validador é recusada antes do envio porque "would lose its quorum"
    Quando a organização 3 cadastra a conta de usuário com o motivo "contrato 12/2026"
    Então a conta de usuário está permitida e o motivo "contrato 12/2026" aparece na explicação
    Quando a organização 3 suspende a conta de usuário
    Então a conta de usuário não está permitida porque "is suspended"
    E um estranho não consegue cadastrar conta nenhuma
